//! The mistakes of a run file, each with its line: one screen, most of it the user's own text.

use std::fmt::Write;
use std::ops::Range;

use lmprobe_registry::{Diagnostic, Invalid, Source};
use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};

/// Mistakes shown before the rest is only counted.
const SHOWN: usize = 20;

/// Up to so many mistakes, each is shown with its line of the file.
const ALL_IN_FULL: usize = 5;

/// Of more mistakes so many are shown with their lines, so that all fit on one screen.
const FIRST_IN_FULL: usize = 2;

/// Characters of a message, longer than any that quotes no overlong value.
const LONGEST: usize = 200;

/// Characters of a source line that are shown.
const WIDTH: usize = 100;

/// Mistakes as text: with colours and Unicode frames, or in plain ASCII.
pub(crate) fn render(invalid: &Invalid, color: bool) -> String {
    let mut theme = if color { GraphicalTheme::unicode() } else { GraphicalTheme::none() };
    "error:".clone_into(&mut theme.characters.error);
    let handler = GraphicalReportHandler::new_themed(theme).with_wrap_lines(false).with_links(false).with_context_lines(0).without_syntax_highlighting();
    let mut text = String::new();
    let in_full = if invalid.diagnostics.len() <= ALL_IN_FULL { ALL_IN_FULL } else { FIRST_IN_FULL };
    for (index, diagnostic) in invalid.diagnostics.iter().take(SHOWN).enumerate() {
        let mut rendered = String::new();
        let mut shown = Shown::new(diagnostic, invalid.sources.get(diagnostic.source));
        if index >= in_full {
            shown.shorten();
        }
        if index > 0 && index <= in_full {
            text.push('\n');
        }
        if handler.render_report(&mut rendered, &shown).is_err() {
            rendered = format!("  error: {shown}\n");
        }
        text.push_str(&rendered);
    }
    let n = invalid.diagnostics.len();
    if n > SHOWN {
        let _ = writeln!(text, "  and {} more", n - SHOWN);
    }
    text
}

/// A diagnostic in the form the renderer wants.
#[derive(Debug)]
struct Shown {
    header: String,
    line: Option<Line>,
    label: Option<String>,
    help: Option<String>,
}

impl Shown {
    fn new(diagnostic: &Diagnostic, source: Option<&Source>) -> Self {
        let place = match source {
            Some(source) if diagnostic.line > 0 => format!("{}:{}:{}: ", source.name, diagnostic.line, diagnostic.column),
            Some(source) => format!("{}: ", source.name),
            None => String::new(),
        };
        let key = if diagnostic.key.is_empty() { String::new() } else { format!("{}: ", diagnostic.key) };
        let line = source.zip(diagnostic.span.clone()).map(|(source, span)| Line::around(&source.text, span));
        Self {
            header: format!("{}{}", printable(&format!("{place}{key}")), elided(&diagnostic.message)),
            line,
            label: diagnostic.label.as_deref().map(elided),
            help: diagnostic.help.as_deref().map(|help| elided_at(help, 3 * LONGEST)),
        }
    }

    /// Leaves one line. A label that lists all that would have been right stands with the first mistakes.
    fn shorten(&mut self) {
        if let Some(label) = self.label.take().filter(|label| label.chars().count() <= WIDTH / 2) {
            self.header = format!("{}; {label}", self.header);
        }
        (self.line, self.help) = (None, None);
    }
}

impl std::fmt::Display for Shown {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.header)
    }
}

impl std::error::Error for Shown {}

impl miette::Diagnostic for Shown {
    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn std::fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.line.as_ref().map(|line| line as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let line = self.line.as_ref()?;
        Some(Box::new(std::iter::once(LabeledSpan::new_primary_with_span(self.label.clone(), line.marked.clone()))))
    }
}

/// The part of a source line that a mistake is in.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    /// Counted from 0.
    index: usize,
    text: String,
    /// Byte range of the mistake in `text`.
    marked: Range<usize>,
}

impl Line {
    /// The line in which the span begins, cut to the part around it. A span of several lines ends with its first.
    fn around(source: &str, span: Range<usize>) -> Self {
        let start = floor_boundary(source, span.start);
        let begin = source[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let end = source[start..].find('\n').map_or(source.len(), |newline| start + newline);
        let line = source[begin..end].trim_end_matches('\r');
        let marked_end = floor_boundary(source, span.end.max(start)).clamp(begin, begin + line.len());
        let start = start.min(begin + line.len());
        let before = line[..start - begin].chars().count();
        let length = source[start..marked_end.max(start)].chars().count();
        Self { index: source[..begin].matches('\n').count(), ..Self::cut(line, before, length) }
    }

    /// Cuts a line to [`WIDTH`] characters, of which `length` after the first `before` are marked.
    fn cut(line: &str, before: usize, length: usize) -> Self {
        let characters: Vec<char> = line.chars().map(|character| if character == '\t' { ' ' } else { printable_char(character) }).collect();
        let length = length.min(WIDTH);
        let first = if characters.len() <= WIDTH || before + length <= WIDTH * 3 / 4 { 0 } else { before.saturating_sub((WIDTH - length) / 2) };
        let last = (first + WIDTH).min(characters.len());
        let lead = if first > 0 { "..." } else { "" };
        let tail = if last < characters.len() { "..." } else { "" };
        let prefix: String = characters[first..before].iter().collect();
        let marked: String = characters[before..(before + length).min(last)].iter().collect();
        let rest: String = characters[(before + length).min(last)..last].iter().collect();
        let start = lead.len() + prefix.len();
        let mut text = format!("{lead}{prefix}{marked}{rest}{tail}");
        // The renderer draws nothing for an empty line, and no mark behind the last character.
        if start >= text.len() {
            text.push(' ');
        }
        let end = (start + marked.len()).max(start + 1);
        Self { index: 0, marked: start..ceil_boundary(&text, end), text }
    }
}

impl SourceCode for Line {
    fn read_span<'a>(&'a self, span: &SourceSpan, _: usize, _: usize) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        if span.offset() + span.len() > self.text.len() {
            return Err(MietteError::OutOfBounds);
        }
        let whole = SourceSpan::from(0..self.text.len());
        Ok(Box::new(MietteSpanContents::new(self.text.as_bytes(), whole, self.index, 0, 1)))
    }
}

/// The text on one line, without what a terminal would obey.
fn printable(text: &str) -> String {
    text.chars().map(|character| if character == '\n' { ' ' } else { printable_char(character) }).collect()
}

/// The text on one line of bearable length: of a long one the beginning and the end.
fn elided(text: &str) -> String {
    elided_at(text, LONGEST)
}

fn elided_at(text: &str, longest: usize) -> String {
    let characters: Vec<char> = printable(text).chars().collect();
    if characters.len() <= longest {
        return characters.into_iter().collect();
    }
    let half = longest / 2;
    let (head, tail): (String, String) = (characters[..half].iter().collect(), characters[characters.len() - half..].iter().collect());
    format!("{head} ... {tail}")
}

fn printable_char(character: char) -> char {
    // Besides control characters: those that reverse the direction of what follows.
    let unseen = character.is_control() || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffd}');
    if unseen { '?' } else { character }
}

fn floor_boundary(text: &str, index: usize) -> usize {
    (0..=index.min(text.len())).rev().find(|index| text.is_char_boundary(*index)).unwrap_or(0)
}

fn ceil_boundary(text: &str, index: usize) -> usize {
    (index..text.len()).find(|index| text.is_char_boundary(*index)).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnostic(text: &str, word: &str) -> Diagnostic {
        let start = text.find(word).unwrap();
        Diagnostic {
            source: 0,
            line: text[..start].matches('\n').count() + 1,
            column: start - text[..start].rfind('\n').map_or(0, |newline| newline + 1) + 1,
            span: Some(start..start + word.len()),
            key: "probers[0].temprature".into(),
            message: "unknown parameter `temprature`".into(),
            label: Some("did you mean `temperature`?".into()),
            help: Some("`lmprobe describe prober contrastive` shows all".into()),
        }
    }

    fn rendered(text: &str, diagnostics: Vec<Diagnostic>) -> String {
        render(&Invalid { diagnostics, sources: vec![Source { name: "run.yaml".into(), text: text.into() }], lacks_network: false, lacks_device: false }, false)
    }

    #[test]
    fn a_mistake_shows_its_place_its_line_and_a_way_out() {
        let text = "name: x\nprobers:\n  - use: contrastive\n    temprature: 0.04\n";
        let expected = "  error: run.yaml:4:5: probers[0].temprature: unknown parameter `temprature`
   ,----
 4 |     temprature: 0.04
   :     ^^^^^|^^^^
   :          `-- did you mean `temperature`?
   `----
  help: `lmprobe describe prober contrastive` shows all
";
        assert_eq!(rendered(text, vec![diagnostic(text, "temprature")]), expected);
    }

    #[test]
    fn a_long_line_is_cut_around_the_mistake() {
        let text = format!("a: {}temprature{}", "x".repeat(5_000), "y".repeat(5_000));
        let shown = rendered(&text, vec![diagnostic(&text, "temprature")]);
        assert!(shown.lines().all(|line| line.chars().count() < 120), "{shown}");
        assert!(shown.contains("xxxtempratureyyy"), "{shown}");
    }

    #[test]
    fn a_long_value_in_a_message_is_elided() {
        let message = format!("unknown value `{}`", "x".repeat(5_000));
        let shown = rendered("temprature", vec![Diagnostic { message, ..diagnostic("temprature", "temprature") }]);
        assert!(shown.lines().all(|line| line.chars().count() < 260), "{shown}");
        assert!(shown.contains("unknown value `xxx") && shown.contains("xxx`\n"), "{shown}");
    }

    #[test]
    fn without_a_place_in_the_text_there_is_no_snippet() {
        let shown = rendered("", vec![Diagnostic { span: None, ..diagnostic("temprature", "temprature") }]);
        assert_eq!(shown.lines().count(), 2, "{shown}");
    }

    #[test]
    fn a_hundred_mistakes_fit_on_one_screen() {
        let text = "temprature";
        let shown = rendered(text, (0..100).map(|_| diagnostic(text, "temprature")).collect());
        assert!(shown.ends_with("  and 80 more\n"), "{shown}");
        assert!(shown.lines().count() <= 40, "{shown}");
    }

    #[test]
    fn escape_sequences_of_a_file_do_not_reach_the_terminal() {
        let text = "\u{1b}[2Jtemprature\u{7}";
        assert!(!rendered(text, vec![diagnostic(text, "temprature")]).contains(['\u{1b}', '\u{7}']));
    }

    #[test]
    fn spans_at_odd_places_do_no_harm() {
        for (text, span) in [
            ("", 0..0),
            ("a", 1..1),
            ("a\n", 2..2),
            ("ä", 1..2),
            ("a\nb\nc", 0..5),
            ("a", 7..9),
            ("a\r\nb", 1..3),
            ("\n\n", 1..2),
            ("ab", Range { start: 2, end: 1 }),
        ] {
            let mistake = Diagnostic { span: Some(span.clone()), ..diagnostic("temprature", "temprature") };
            let shown = rendered(text, vec![mistake]);
            assert!(shown.contains("did you mean"), "{text:?} {span:?}: {shown}");
        }
    }
}
