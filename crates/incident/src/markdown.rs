//! Markdown (CommonMark with tables).

use std::{fmt::Write as _, iter};

use crate::{Block, Document, Language};

impl Document {
    /// The document as Markdown; nothing in the record is taken for markup.
    pub fn to_markdown(&self) -> String {
        let mut out = format!("**{}**\n\n# {}\n", self.label, escape(&self.title));
        for section in &self.sections {
            push(
                &mut out,
                format_args!("\n## {}\n", escape(&section.heading)),
            );
            for block in &section.blocks {
                out.push('\n');
                write_block(&mut out, block, self.language);
            }
        }
        push(&mut out, format_args!("\n**{}**\n", self.label));
        out
    }
}

fn write_block(out: &mut String, block: &Block, language: Language) {
    match block {
        Block::Heading(text) => push(out, format_args!("### {}\n", escape(text))),
        Block::Text(text) => {
            for (index, paragraph) in paragraphs(text).enumerate() {
                if index > 0 {
                    out.push('\n');
                }
                let lines: Vec<String> = paragraph.iter().map(|line| escape(line)).collect();
                // Two blanks at the end keep the line break.
                push(out, format_args!("{}\n", lines.join("  \n")));
            }
        }
        Block::Facts(facts) => {
            let colon = language.colon();
            for (name, value) in facts {
                push(
                    out,
                    format_args!("- **{}**{colon}{}\n", escape(name), escape(value)),
                );
            }
        }
        Block::List(items) => {
            for item in items {
                push(out, format_args!("- {}\n", escape(item)));
            }
        }
        Block::Table { head, rows } => {
            row(out, head);
            row(out, &vec!["---".to_owned(); head.len()]);
            for cells in rows {
                let cells: Vec<String> = cells.iter().map(|cell| escape(cell)).collect();
                row(out, &cells);
            }
        }
    }
}

fn row(out: &mut String, cells: &[String]) {
    push(out, format_args!("| {} |\n", cells.join(" | ")));
}

/// The paragraphs of a text, as their lines.
pub(crate) fn paragraphs(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let mut lines = text.lines().map(str::trim_end).peekable();
    iter::from_fn(move || {
        while lines.next_if(|line| line.is_empty()).is_some() {}
        let paragraph: Vec<&str> =
            iter::from_fn(|| lines.next_if(|line| !line.is_empty())).collect();
        (!paragraph.is_empty()).then_some(paragraph)
    })
}

/// Takes their meaning from the characters that Markdown and the HTML in it know.
fn escape(text: &str) -> String {
    // Four blanks would be code, and fewer hide what a line begins with.
    let text = text.trim_start();
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    // What a list could begin with: nothing so far, or digits alone.
    let (mut at_start, mut only_digits) = (true, true);
    while let Some(c) = characters.next() {
        let ends = characters.peek().is_none_or(|next| next.is_whitespace());
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '$' => {
                out.push('\\');
                out.push(c);
            }
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '#' | '-' | '=' if at_start => {
                out.push('\\');
                out.push(c);
            }
            '+' if at_start && ends => out.push_str("\\+"),
            '.' | ')' if !at_start && only_digits && ends => {
                out.push('\\');
                out.push(c);
            }
            '\n' | '\r' | '\t' => out.push(' '),
            c if c.is_control() => out.push('\u{FFFD}'),
            c => out.push(c),
        }
        at_start = false;
        only_digits &= c.is_ascii_digit();
    }
    out
}

fn push(out: &mut String, arguments: std::fmt::Arguments<'_>) {
    out.write_fmt(arguments).expect("a string takes all");
}

#[cfg(test)]
mod tests {
    use super::{escape, paragraphs};

    #[test]
    fn nothing_is_taken_for_markup() {
        assert_eq!(escape("<b>|*x*_`"), "&lt;b&gt;\\|\\*x\\*\\_\\`");
        assert_eq!(escape("# no heading"), "\\# no heading");
        assert_eq!(escape("  ## no heading"), "\\## no heading");
        assert_eq!(escape("- no item"), "\\- no item");
        assert_eq!(escape("\t- no item"), "\\- no item");
        assert_eq!(escape("a\tb"), "a b");
        assert_eq!(escape("1. no list"), "1\\. no list");
        assert_eq!(escape("198.51.100.7, +33 1"), "198.51.100.7, +33 1");
        assert_eq!(escape("+ no item"), "\\+ no item");
        assert_eq!(escape("two\nlines"), "two lines");
    }

    #[test]
    fn paragraphs_have_blank_lines_between() {
        for text in ["a\nb\n\nc", "\r\na\r\nb\r\n\r\n\r\nc\r\n", "a\nb\n \nc\n"] {
            let found: Vec<_> = paragraphs(text).collect();
            assert_eq!(found, [vec!["a", "b"], vec!["c"]], "{text:?}");
        }
    }
}
