//! HTML: one file, no script, nothing fetched.

use std::fmt::Write as _;

use crate::{Block, Document, layout::is_bound, markdown::paragraphs};

/// The style; colours of labels are those of TLP 2.0 (FIRST).
const STYLE: &str = "\
body{font:16px/1.5 system-ui,sans-serif;color:#1a1a1a;max-width:60rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.8rem;margin:.5rem 0 1.5rem}h2{font-size:1.2rem;margin:2rem 0 .5rem;border-bottom:1px solid #ccc}\
h3{font-size:1rem;margin:1rem 0 .3rem}\
.tlp{display:inline-block;background:#000;font:bold 1rem monospace;padding:.2rem .6rem}\
table{border-collapse:collapse;width:100%}th,td{border:1px solid #ccc;padding:.3rem .5rem;text-align:left;vertical-align:top}\
table+table{margin-top:1rem}th{background:#f2f2f2}.long{overflow-wrap:anywhere}\
dl{display:grid;grid-template-columns:14rem 1fr;gap:.2rem 1rem;margin:.5rem 0 1rem}\
dt{font-weight:600}dd{margin:0;overflow-wrap:anywhere}p,li{overflow-wrap:anywhere}footer{margin-top:3rem}\
@media print{body{margin:0;max-width:none;font-size:10.5pt}table{font-size:8.5pt}h2,h3{break-after:avoid}tr,dl{break-inside:avoid}}";
/// A word of a table that is longer may be broken anywhere: it would push the table over the page's edge. Addresses and
/// times are shorter.
const LONG_WORD: usize = 45;

impl Document {
    /// The document as one HTML page; nothing in the record is taken for markup.
    pub fn to_html(&self) -> String {
        let title = escape(&self.title);
        let label = self.label_html();
        let mut out = String::new();
        push(
            &mut out,
            format_args!(
                "<!doctype html>\n<html lang=\"{}\">\n<head>\n<meta charset=\"utf-8\">\n\
                 <meta name=\"viewport\" content=\"width=device-width\">\n<title>{} — {title}</title>\n\
                 <style>{STYLE}</style>\n</head>\n<body>\n<header>{label}</header>\n<h1>{title}</h1>\n",
                self.language.code(),
                self.label
            ),
        );
        for section in &self.sections {
            push(
                &mut out,
                format_args!("<section>\n<h2>{}</h2>\n", escape(&section.heading)),
            );
            for block in &section.blocks {
                write_block(&mut out, block);
            }
            out.push_str("</section>\n");
        }
        push(
            &mut out,
            format_args!("<footer>{label}</footer>\n</body>\n</html>\n"),
        );
        out
    }

    fn label_html(&self) -> String {
        let (red, green, blue) = self.colour();
        format!(
            "<span class=\"tlp\" style=\"color:#{red:02x}{green:02x}{blue:02x}\">{}</span>",
            self.label
        )
    }
}

fn write_block(out: &mut String, block: &Block) {
    match block {
        Block::Heading(text) => push(out, format_args!("<h3>{}</h3>\n", escape(text))),
        Block::Text(text) => {
            for lines in paragraphs(text) {
                let lines: Vec<String> = lines.into_iter().map(escape).collect();
                push(out, format_args!("<p>{}</p>\n", lines.join("<br>\n")));
            }
        }
        Block::Facts(facts) => {
            out.push_str("<dl>\n");
            for (name, value) in facts {
                push(
                    out,
                    format_args!("<dt>{}</dt><dd>{}</dd>\n", escape(name), escape(value)),
                );
            }
            out.push_str("</dl>\n");
        }
        Block::List(items) => {
            out.push_str("<ul>\n");
            for item in items {
                push(out, format_args!("<li>{}</li>\n", escape(item)));
            }
            out.push_str("</ul>\n");
        }
        Block::Table { head, rows } => {
            out.push_str("<table>\n<thead>");
            row(out, "th", head);
            out.push_str("</thead>\n<tbody>\n");
            for cells in rows {
                row(out, "td", cells);
            }
            out.push_str("</tbody>\n</table>\n");
        }
    }
}

fn row(out: &mut String, tag: &str, cells: &[String]) {
    out.push_str("<tr>");
    for cell in cells {
        let is_long = |word: &str| word.chars().count() > LONG_WORD;
        let class = if cell.split_whitespace().any(is_long) {
            " class=\"long\""
        } else {
            ""
        };
        push(out, format_args!("<{tag}{class}>{}</{tag}>", escape(cell)));
    }
    out.push_str("</tr>\n");
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        match c {
            ' ' if is_bound(text[..at].chars().next_back(), &text[at + 1..]) => {
                out.push_str("&nbsp;");
            }
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() => out.push('\u{FFFD}'),
            c => out.push(c),
        }
    }
    out
}

fn push(out: &mut String, arguments: std::fmt::Arguments<'_>) {
    out.write_fmt(arguments).expect("a string takes all");
}
