//! PDF: A4, selectable text, fonts inside, the label on each page.

use krilla::{
    Data, Document as Pdf,
    color::rgb,
    geom::{PathBuilder, Point, Rect},
    metadata::Metadata,
    num::NormalizedF32,
    page::PageSettings,
    paint::{Fill, Stroke},
    surface::Surface,
    text::{Font, TextDirection},
};
use scelle_event::Tlp;

use crate::{
    Block, Document, RenderError,
    layout::{bound, fill_up},
    markdown::paragraphs,
    words::Phrase,
};

// A4 in points of 1/72 inch.
const WIDTH: f32 = 595.28;
const HEIGHT: f32 = 841.89;
const MARGIN: f32 = 56.0;
const TOP: f32 = 84.0;
const BOTTOM: f32 = HEIGHT - 64.0;
const BODY: f32 = 10.0;
const SMALL: f32 = 8.5;
const HEADING: f32 = 13.0;
const SUBHEADING: f32 = 11.0;
const TITLE: f32 = 20.0;
/// A line's height, in font sizes.
const LEADING: f32 = 1.4;
/// The column of names in a list of facts.
const NAMES: f32 = 140.0;
const CELL: f32 = 4.0;
const DARK: (u8, u8, u8) = (26, 26, 26);
const RULE: (u8, u8, u8) = (190, 190, 190);
const SHADE: (u8, u8, u8) = (240, 240, 240);

impl Document {
    /// The document as a PDF; the same record gives the same bytes.
    ///
    /// # Errors
    /// What the PDF library says.
    pub fn to_pdf(&self) -> Result<Vec<u8>, RenderError> {
        let fonts = Fonts::load()?;
        let pages = Layout::new(&fonts).lay(self);
        let mut pdf = Pdf::new();
        pdf.set_metadata(
            Metadata::new()
                .title(format!("{} {}", self.label, self.title))
                .language(self.language.code().to_owned()),
        );
        let count = pages.len();
        for (index, marks) in pages.iter().enumerate() {
            let settings = PageSettings::from_wh(WIDTH, HEIGHT)
                .ok_or_else(|| RenderError::Pdf("the page has no size".to_owned()))?;
            let mut page = pdf.start_page_with(settings);
            let mut surface = page.surface();
            for mark in marks {
                mark.draw(&mut surface, &fonts);
            }
            let number = format!(
                "{} {}/{count}",
                Phrase::Page.in_language(self.language),
                index + 1
            );
            for mark in self.frame(&fonts, number) {
                mark.draw(&mut surface, &fonts);
            }
            surface.finish();
            page.finish();
        }
        pdf.finish()
            .map_err(|error| RenderError::Pdf(format!("{error:?}")))
    }

    /// The label at the head and the foot, as TLP 2.0 asks, and the page's number.
    fn frame(&self, fonts: &Fonts, number: String) -> Vec<Mark> {
        let mut marks = Vec::new();
        let label = self.label.name().to_owned();
        let width = fonts.width(&label, Face::Bold, 11.0);
        for y in [30.0, HEIGHT - 46.0] {
            let x = WIDTH - MARGIN - width - 12.0;
            marks.push(Mark::Box {
                x,
                y,
                width: width + 12.0,
                height: 20.0,
                colour: (0, 0, 0),
            });
            marks.push(Mark::Text {
                x: x + 6.0,
                y: y + 14.0,
                size: 11.0,
                face: Face::Bold,
                colour: self.colour(),
                text: label.clone(),
            });
        }
        marks.push(Mark::Text {
            x: MARGIN,
            y: HEIGHT - 32.0,
            size: SMALL,
            face: Face::Regular,
            colour: DARK,
            text: number,
        });
        marks
    }

    /// The colour of the label's letters on black, as FIRST states it for TLP 2.0.
    pub(crate) fn colour(&self) -> (u8, u8, u8) {
        match self.label {
            Tlp::Clear => (255, 255, 255),
            Tlp::Green => (51, 255, 0),
            Tlp::Amber | Tlp::AmberStrict => (255, 192, 0),
            Tlp::Red => (255, 43, 43),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Face {
    Regular,
    Bold,
}

/// Something on a page; `y` of a text is its base line.
enum Mark {
    Text {
        x: f32,
        y: f32,
        size: f32,
        face: Face,
        colour: (u8, u8, u8),
        text: String,
    },
    Box {
        x: f32,
        y: f32,
        width: f32,
        height: f32,
        colour: (u8, u8, u8),
    },
    Line {
        x: f32,
        y: f32,
        width: f32,
    },
}

impl Mark {
    fn draw(&self, surface: &mut Surface<'_>, fonts: &Fonts) {
        match self {
            Self::Text {
                x,
                y,
                size,
                face,
                colour,
                text,
            } => {
                surface.set_stroke(None);
                surface.set_fill(Some(fill(*colour)));
                let font = fonts.face(*face).0.clone();
                surface.draw_text(
                    Point::from_xy(*x, *y),
                    font,
                    *size,
                    text,
                    false,
                    TextDirection::Auto,
                );
            }
            Self::Box {
                x,
                y,
                width,
                height,
                colour,
            } => {
                surface.set_stroke(None);
                surface.set_fill(Some(fill(*colour)));
                let mut path = PathBuilder::new();
                path.push_rect(Rect::from_xywh(*x, *y, *width, *height).expect("a box has a size"));
                surface.draw_path(&path.finish().expect("a box is a path"));
            }
            Self::Line { x, y, width } => {
                surface.set_fill(None);
                surface.set_stroke(Some(Stroke {
                    paint: rgb::Color::new(RULE.0, RULE.1, RULE.2).into(),
                    width: 0.7,
                    ..Stroke::default()
                }));
                let mut path = PathBuilder::new();
                path.move_to(*x, *y);
                path.line_to(x + width, *y);
                surface.draw_path(&path.finish().expect("a line is a path"));
            }
        }
    }
}

fn fill(colour: (u8, u8, u8)) -> Fill {
    Fill {
        paint: rgb::Color::new(colour.0, colour.1, colour.2).into(),
        opacity: NormalizedF32::ONE,
        rule: Default::default(),
    }
}

/// The faces, as the PDF takes them and as they are measured.
struct Fonts {
    regular: (Font, ttf_parser::Face<'static>),
    bold: (Font, ttf_parser::Face<'static>),
}

impl Fonts {
    fn load() -> Result<Self, RenderError> {
        let load = |bytes: &'static [u8]| {
            let data: Data = bytes.to_vec().into();
            let font = Font::new(data, 0)
                .ok_or_else(|| RenderError::Pdf("a font can't be read".to_owned()))?;
            let face = ttf_parser::Face::parse(bytes, 0)
                .map_err(|error| RenderError::Pdf(error.to_string()))?;
            Ok::<_, RenderError>((font, face))
        };
        Ok(Self {
            regular: load(dejavu::sans::regular())?,
            bold: load(dejavu::sans::bold())?,
        })
    }

    fn face(&self, face: Face) -> &(Font, ttf_parser::Face<'static>) {
        match face {
            Face::Regular => &self.regular,
            Face::Bold => &self.bold,
        }
    }

    fn width(&self, text: &str, face: Face, size: f32) -> f32 {
        let measured = &self.face(face).1;
        let units: u32 = text
            .chars()
            .filter_map(|c| measured.glyph_index(c))
            .filter_map(|glyph| measured.glyph_hor_advance(glyph))
            .map(u32::from)
            .sum();
        units as f32 * size / f32::from(measured.units_per_em())
    }

    /// The text with what the font can't show written as its code point: nothing vanishes on paper.
    fn shown(&self, text: &str, face: Face) -> String {
        let measured = &self.face(face).1;
        let mut out = String::with_capacity(text.len());
        for c in text.chars() {
            if c.is_whitespace() {
                // What may not be broken stays so; the rest is a blank.
                let is_kept = matches!(c, '\u{A0}' | '\u{202F}');
                out.push(if is_kept { c } else { ' ' });
            } else if !c.is_control() && measured.glyph_index(c).is_some() {
                out.push(c);
            } else {
                out.push_str(&format!("[U+{:04X}]", u32::from(c)));
            }
        }
        out
    }

    /// The text cut into lines of at most `width`; a word that is longer is cut where it ends.
    fn wrap(&self, text: &str, face: Face, size: f32, width: f32) -> Vec<String> {
        let text = self.shown(text, face);
        let mut lines = Vec::new();
        let mut line = String::new();
        let fits = |piece: &str| self.width(piece, face, size) <= width;
        // What no line can hold is broken all the same: at its blanks first.
        let pieces = bound(&text).into_iter().flat_map(|piece| {
            if fits(&piece) {
                vec![piece]
            } else {
                piece.split(' ').map(str::to_owned).collect()
            }
        });
        for word in pieces {
            let joined = if line.is_empty() {
                word.clone()
            } else {
                format!("{line} {word}")
            };
            if self.width(&joined, face, size) <= width {
                line = joined;
                continue;
            }
            if !line.is_empty() {
                lines.push(std::mem::take(&mut line));
            }
            for c in word.chars() {
                line.push(c);
                if self.width(&line, face, size) > width && line.chars().count() > 1 {
                    line.pop();
                    lines.push(std::mem::take(&mut line));
                    line.push(c);
                }
            }
        }
        lines.push(line);
        lines
    }
}

/// Pages that fill from top to bottom.
struct Layout<'a> {
    fonts: &'a Fonts,
    pages: Vec<Vec<Mark>>,
    y: f32,
}

impl<'a> Layout<'a> {
    fn new(fonts: &'a Fonts) -> Self {
        Self {
            fonts,
            pages: vec![Vec::new()],
            y: TOP,
        }
    }

    fn lay(mut self, document: &Document) -> Vec<Vec<Mark>> {
        self.text(
            &document.title,
            Face::Bold,
            TITLE,
            MARGIN,
            WIDTH - 2.0 * MARGIN,
        );
        for section in &document.sections {
            self.y += 12.0;
            // A heading doesn't stand alone at a page's end.
            self.room(HEADING * LEADING + 3.0 * BODY * LEADING);
            self.text(
                &section.heading,
                Face::Bold,
                HEADING,
                MARGIN,
                WIDTH - 2.0 * MARGIN,
            );
            let rule = Mark::Line {
                x: MARGIN,
                y: self.y + 2.0,
                width: WIDTH - 2.0 * MARGIN,
            };
            self.mark(rule);
            self.y += 8.0;
            for block in &section.blocks {
                self.block(block);
                self.y += 6.0;
            }
        }
        self.pages
    }

    fn block(&mut self, block: &Block) {
        let width = WIDTH - 2.0 * MARGIN;
        match block {
            Block::Heading(text) => {
                // It doesn't stand alone at a page's end.
                self.room(5.0 * BODY * LEADING);
                self.text(text, Face::Bold, SUBHEADING, MARGIN, width);
            }
            Block::Text(text) => {
                for lines in paragraphs(text) {
                    for line in lines {
                        self.text(line, Face::Regular, BODY, MARGIN, width);
                    }
                    self.y += 4.0;
                }
            }
            Block::Facts(facts) => self.facts(facts, width),
            Block::List(items) => {
                for item in items {
                    self.room(BODY * LEADING);
                    self.line("•".to_owned(), Face::Regular, BODY, MARGIN);
                    self.text(item, Face::Regular, BODY, MARGIN + 12.0, width - 12.0);
                    self.y += 2.0;
                }
            }
            Block::Table { head, rows } => self.table(head, rows, width),
        }
    }

    /// Names and values side by side; a few of them stay on one page.
    fn facts(&mut self, facts: &[(String, String)], width: f32) {
        let wrapped: Vec<_> = facts
            .iter()
            .map(|(name, value)| {
                let names = self.fonts.wrap(name, Face::Bold, BODY, NAMES - 8.0);
                let values = self.fonts.wrap(value, Face::Regular, BODY, width - NAMES);
                (names, values)
            })
            .collect();
        let lines = wrapped
            .iter()
            .map(|(names, values)| names.len().max(values.len()));
        let height = lines.sum::<usize>() as f32 * BODY * LEADING;
        if height < (BOTTOM - TOP) / 3.0 {
            self.room(height);
        }
        for (names, values) in &wrapped {
            for index in 0..names.len().max(values.len()) {
                self.room(BODY * LEADING);
                for (column, x, face) in [
                    (names, MARGIN, Face::Bold),
                    (values, MARGIN + NAMES, Face::Regular),
                ] {
                    if let Some(text) = column.get(index) {
                        self.line(text.clone(), face, BODY, x);
                    }
                }
                self.y += BODY * LEADING;
            }
        }
    }

    /// A table, whose head stands on each page that has rows of it.
    fn table(&mut self, head: &[String], rows: &[Vec<String>], width: f32) {
        let widths = self.columns(head, rows, width);
        let head_height = self.row_height(head, &widths, Face::Bold);
        // A head that fills pages leaves no room for what it stands over.
        let repeated = (head_height < (BOTTOM - TOP) / 2.0).then_some(head);
        for (number, cells) in rows.iter().enumerate() {
            let height = self.row_height(cells, &widths, Face::Regular);
            // A row goes to the next page whole, unless no page could hold it.
            let is_whole = height + head_height < BOTTOM - TOP;
            let least = if is_whole { height } else { SMALL * LEADING };
            let is_first = number == 0;
            let is_broken = self.room(least + if is_first { head_height } else { 0.0 });
            if is_first || (is_broken && repeated.is_some()) {
                self.row(head, &widths, Face::Bold, None);
            }
            self.row(cells, &widths, Face::Regular, repeated);
        }
    }

    fn cells(&self, cells: &[String], widths: &[f32], face: Face) -> Vec<Vec<String>> {
        let columns = cells.iter().zip(widths);
        columns
            .map(|(cell, width)| self.fonts.wrap(cell, face, SMALL, width - 2.0 * CELL))
            .collect()
    }

    fn row_height(&self, cells: &[String], widths: &[f32], face: Face) -> f32 {
        let columns = self.cells(cells, widths, face);
        let lines = columns.iter().map(Vec::len).max().unwrap_or(1);
        lines as f32 * SMALL * LEADING + 2.0 * CELL
    }

    /// Columns as wide as their longest word, or all but the widest where there is no room for that. What is left goes first to those
    /// that need least to show their cells on one line, then to those whose heads need it.
    fn columns(&self, head: &[String], rows: &[Vec<String>], width: f32) -> Vec<f32> {
        let padded = |width: f32| width.min(WIDTH / 2.0) + 2.0 * CELL + 1.0;
        let longest = |cell: &String, face| {
            let words = bound(cell).into_iter();
            words.fold(0f32, |most, word| {
                most.max(self.fonts.width(&word, face, SMALL))
            })
        };
        let mut widths = Vec::with_capacity(head.len());
        let (mut bodies, mut heads) = (Vec::new(), Vec::new());
        for (column, name) in head.iter().enumerate() {
            let cells = || rows.iter().filter_map(|cells| cells.get(column));
            let word = cells().map(|cell| longest(cell, Face::Regular));
            widths.push(padded(word.fold(longest(name, Face::Bold), f32::max)));
            let line = cells().map(|cell| self.fonts.width(cell, Face::Regular, SMALL));
            bodies.push(padded(line.fold(0f32, f32::max)));
            heads.push(padded(self.fonts.width(name, Face::Bold, SMALL)));
        }
        let least: f32 = widths.iter().sum();
        if least >= width {
            // The widest give way: what is short stays whole.
            let mut narrowed = vec![0.0; widths.len()];
            fill_up(&mut narrowed, &widths, width);
            return narrowed;
        }
        fill_up(&mut widths, &bodies, width);
        fill_up(&mut widths, &heads, width);
        // Tables reach from margin to margin.
        let rest = width - widths.iter().sum::<f32>();
        if let Some(last) = widths.last_mut() {
            *last += rest.max(0.0);
        }
        widths
    }

    /// One row, on further pages under the head where one has not room for it.
    fn row(&mut self, cells: &[String], widths: &[f32], face: Face, head: Option<&[String]>) {
        let columns = self.cells(cells, widths, face);
        let lines = columns.iter().map(Vec::len).max().unwrap_or(1);
        let step = SMALL * LEADING;
        if face == Face::Bold {
            // Behind the whole row, before any of its letters.
            let shade = Mark::Box {
                x: MARGIN,
                y: self.y,
                width: widths.iter().sum(),
                height: lines as f32 * step + CELL,
                colour: SHADE,
            };
            self.mark(shade);
        }
        self.y += CELL;
        for index in 0..lines {
            if self.room(step)
                && let Some(head) = head
            {
                self.row(head, widths, Face::Bold, None);
                self.y += CELL;
            }
            let mut x = MARGIN + CELL;
            for (column, width) in columns.iter().zip(widths) {
                if let Some(text) = column.get(index) {
                    self.line(text.clone(), face, SMALL, x);
                }
                x += width;
            }
            self.y += step;
        }
        let rule = Mark::Line {
            x: MARGIN,
            y: self.y + 1.0,
            width: widths.iter().sum(),
        };
        self.mark(rule);
        self.y += CELL - 2.0;
    }

    fn text(&mut self, text: &str, face: Face, size: f32, x: f32, width: f32) {
        for line in self.fonts.wrap(text, face, size, width) {
            self.room(size * LEADING);
            self.line(line, face, size, x);
            self.y += size * LEADING;
        }
    }

    /// A line of text whose upper edge is at the present height.
    fn line(&mut self, text: String, face: Face, size: f32, x: f32) {
        let y = self.y + size;
        self.mark(Mark::Text {
            x,
            y,
            size,
            face,
            colour: DARK,
            text,
        });
    }

    fn mark(&mut self, mark: Mark) {
        if let Some(page) = self.pages.last_mut() {
            page.push(mark);
        }
    }

    /// Begins a page where less than `height` is left; whether it did.
    fn room(&mut self, height: f32) -> bool {
        let is_full = self.y + height > BOTTOM;
        if is_full {
            self.pages.push(Vec::new());
            self.y = TOP;
        }
        is_full
    }
}
