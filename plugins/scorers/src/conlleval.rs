//! Phrases as the script `conlleval.pl` of the CoNLL-2000 shared task (version of 2004-01-26) counts and prints them, quirks included.
//!
//! The quirks that a reader of its numbers should know: `O I` begins a phrase; `E B` of one type neither ends nor begins one; `S`, `U` and `L` mean nothing, so
//! that a single-token phrase `S-x` counts only where the type changes; untyped tags are printed twice; a line whose first field is `-X-` is a boundary; the
//! outside tag of `-o` is looked at with `-r` only. [`crate::entities`] holds the readings of tags without them.

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::AddAssign;

use regex::bytes::Regex;

use crate::Counts;

/// The first field of a line that separates sentences.
const BOUNDARY: &[u8] = b"-X-";

/// What the script leaves behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error, warnings of Perl included; of a delimiter that is no regular expression in our words.
    pub stderr: Vec<u8>,
    /// Its exit code: 0, 1 for lines of unequal length, 255 for everything else that is wrong.
    pub code: u8,
}

/// Runs the script with arguments on the bytes of its standard input. Text need not be UTF-8: the script sees bytes.
pub fn run(args: &[String], stdin: &[u8]) -> Outcome {
    let mut stderr = Vec::new();
    let result = Options::parse(args).and_then(|options| {
        let counts = read(&options, stdin, &mut stderr)?;
        Ok(if options.latex { counts.latex() } else { counts.report() })
    });
    match result {
        Ok(stdout) => Outcome { stdout, stderr, code: 0 },
        Err(death) => {
            stderr.extend(death.message);
            stderr.push(b'\n');
            Outcome { stdout: Vec::new(), stderr, code: death.code }
        }
    }
}

/// Counts of phrases, by type and in total.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PhraseCounts {
    /// Tokens, boundaries left out.
    pub tokens: u64,
    /// Tokens whose tag and type are right.
    pub correct_tags: u64,
    /// All phrases.
    pub total: Counts,
    /// The phrases of each type that occurs; untyped tags have the empty type.
    pub by_type: BTreeMap<Vec<u8>, Counts>,
}

impl AddAssign<&Self> for PhraseCounts {
    fn add_assign(&mut self, other: &Self) {
        self.tokens += other.tokens;
        self.correct_tags += other.correct_tags;
        self.total += other.total;
        for (kind, counts) in &other.by_type {
            *self.by_type.entry(kind.clone()).or_default() += *counts;
        }
    }
}

impl AddAssign for PhraseCounts {
    fn add_assign(&mut self, other: Self) {
        *self += &other;
    }
}

impl PhraseCounts {
    /// Counts sentences of gold and predicted tags, with a boundary behind each.
    ///
    /// # Errors
    ///
    /// If gold and prediction differ in length.
    pub fn of<G: AsRef<str>, P: AsRef<str>>(sentences: &[(&[G], &[P])]) -> crate::Result<Self> {
        let mut counter = PhraseCounter::default();
        for (gold, predicted) in sentences {
            if gold.len() != predicted.len() {
                return Err(crate::Error::Lengths { what: "tags", gold: gold.len(), predicted: predicted.len() });
            }
            for (gold, predicted) in gold.iter().zip(*predicted) {
                counter.token(gold.as_ref().as_bytes(), predicted.as_ref().as_bytes());
            }
            counter.boundary();
        }
        Ok(counter.finish())
    }

    /// Token accuracy as a fraction; 0 without tokens.
    pub fn accuracy(&self) -> f64 {
        crate::counts::ratio(self.correct_tags, self.tokens)
    }

    /// The text of the script without `-l`.
    pub fn report(&self) -> Vec<u8> {
        let Counts { correct, found, gold } = self.total;
        let mut text = format!("processed {} tokens with {gold} phrases; found: {found} phrases; correct: {correct}.\n", self.tokens).into_bytes();
        if self.tokens > 0 {
            let [precision, recall, f1] = percent(self.total);
            let accuracy = hundredfold(self.correct_tags, self.tokens);
            put(&mut text, format_args!("accuracy: {accuracy:6.2}%; precision: {precision:6.2}%; recall: {recall:6.2}%; FB1: {f1:6.2}\n"));
        }
        for kind in self.printed_types() {
            let counts = self.by_type[kind];
            let [precision, recall, f1] = percent(counts);
            text.extend(std::iter::repeat_n(b' ', 17usize.saturating_sub(kind.len())));
            text.extend(kind);
            put(&mut text, format_args!(": precision: {precision:6.2}%; recall: {recall:6.2}%; FB1: {f1:6.2}  {}\n", counts.found));
        }
        text
    }

    /// The table of the script with `-l`.
    pub fn latex(&self) -> Vec<u8> {
        let mut text = b"        & Precision &  Recall  & F$_{\\beta=1} \\\\\\hline".to_vec();
        for kind in self.printed_types() {
            let [precision, recall, f1] = percent(self.by_type[kind]);
            text.push(b'\n');
            text.extend(kind);
            text.extend(std::iter::repeat_n(b' ', 7usize.saturating_sub(kind.len())));
            put(&mut text, format_args!(" &  {precision:6.2}\\% & {recall:6.2}\\% & {f1:6.2} \\\\"));
        }
        let [precision, recall, f1] = percent(self.total);
        put(&mut text, format_args!("\\hline\nOverall &  {precision:6.2}\\% & {recall:6.2}\\% & {f1:6.2} \\\\\\hline\n"));
        text
    }

    /// The types in the order of their bytes. The script skips a type it has just printed, but not one that Perl takes for false: the empty type comes twice if
    /// both sides have it.
    fn printed_types(&self) -> Vec<&Vec<u8>> {
        let both = |counts: &Counts| counts.gold > 0 && counts.found > 0;
        self.by_type.iter().flat_map(|(kind, counts)| std::iter::repeat_n(kind, if kind.is_empty() && both(counts) { 2 } else { 1 })).collect()
    }
}

/// Counts phrases tag by tag, in the order of the tokens.
#[derive(Debug, Clone, Default)]
pub struct PhraseCounter {
    counts: PhraseCounts,
    /// A phrase is open that has been right so far.
    in_correct: bool,
    last_gold: OwnedTag,
    last_found: OwnedTag,
}

impl PhraseCounter {
    /// Takes the next token: its gold tag and the tag that was predicted, such as `B-Disease`.
    pub fn token(&mut self, gold: &[u8], predicted: &[u8]) {
        self.step(Tag::parse(gold), Tag::parse(predicted));
        self.counts.tokens += 1;
        if self.last_gold == self.last_found {
            self.counts.correct_tags += 1;
        }
    }

    /// Ends a sentence.
    pub fn boundary(&mut self) {
        self.step(Tag::OUTSIDE, Tag::OUTSIDE);
    }

    /// The counts of everything taken so far.
    pub fn finish(mut self) -> PhraseCounts {
        if self.in_correct {
            self.count_correct();
        }
        self.counts
    }

    fn step(&mut self, gold: Tag, found: Tag) {
        let (last_gold, last_found) = (self.last_gold.borrow(), self.last_found.borrow());
        if self.in_correct {
            let (gold_ends, found_ends) = (ends(last_gold, gold), ends(last_found, found));
            if gold_ends && found_ends && last_gold.kind == last_found.kind {
                self.in_correct = false;
                self.count_correct();
            } else if gold_ends != found_ends || gold.kind != found.kind {
                self.in_correct = false;
            }
        }
        let (gold_starts, found_starts) = (starts(self.last_gold.borrow(), gold), starts(self.last_found.borrow(), found));
        if gold_starts && found_starts && gold.kind == found.kind {
            self.in_correct = true;
        }
        if gold_starts {
            self.counts.total.gold += 1;
            self.counts.by_type.entry(gold.kind.to_vec()).or_default().gold += 1;
        }
        if found_starts {
            self.counts.total.found += 1;
            self.counts.by_type.entry(found.kind.to_vec()).or_default().found += 1;
        }
        self.last_gold.set(gold);
        self.last_found.set(found);
    }

    fn count_correct(&mut self) {
        self.counts.total.correct += 1;
        self.counts.by_type.entry(self.last_gold.kind.clone()).or_default().correct += 1;
    }
}

/// A tag: what stands before the first hyphen, and the type behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tag<'a> {
    tag: &'a [u8],
    kind: &'a [u8],
}

impl<'a> Tag<'a> {
    const OUTSIDE: Tag<'static> = Tag { tag: b"O", kind: b"" };

    fn parse(text: &'a [u8]) -> Self {
        let (tag, kind) = match text.iter().position(|byte| *byte == b'-') {
            Some(hyphen) => (&text[..hyphen], &text[hyphen + 1..]),
            None => (text, &b""[..]),
        };
        // Perl takes `0` for false as it does the empty type.
        Self { tag, kind: if kind == b"0" { b"" } else { kind } }
    }
}

/// The tag of the token before.
#[derive(Debug, Clone, PartialEq, Eq)]
struct OwnedTag {
    tag: Vec<u8>,
    kind: Vec<u8>,
}

impl Default for OwnedTag {
    fn default() -> Self {
        Self { tag: b"O".to_vec(), kind: Vec::new() }
    }
}

impl OwnedTag {
    fn borrow(&self) -> Tag<'_> {
        Tag { tag: &self.tag, kind: &self.kind }
    }

    fn set(&mut self, tag: Tag) {
        self.tag.clear();
        self.tag.extend(tag.tag);
        self.kind.clear();
        self.kind.extend(tag.kind);
    }
}

/// Whether a phrase ends between two tokens.
fn ends(last: Tag, now: Tag) -> bool {
    matches!((last.tag, now.tag), (b"B" | b"I", b"B" | b"O") | (b"E", b"E" | b"I" | b"O"))
        || !matches!(last.tag, b"O" | b".") && last.kind != now.kind
        || matches!(last.tag, b"[" | b"]")
}

/// Whether a phrase starts between two tokens.
fn starts(last: Tag, now: Tag) -> bool {
    matches!((last.tag, now.tag), (b"B" | b"I" | b"O", b"B") | (b"O" | b"E", b"I" | b"E"))
        || !matches!(now.tag, b"O" | b".") && last.kind != now.kind
        || matches!(now.tag, b"[" | b"]")
}

/// Precision, recall and FB1 in percent, by the arithmetic of the script.
fn percent(counts: Counts) -> [f64; 3] {
    let precision = hundredfold(counts.correct, counts.found);
    let recall = hundredfold(counts.correct, counts.gold);
    let f1 = if precision + recall > 0.0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 };
    [precision, recall, f1]
}

/// `100 * part / whole`, rounded once; 0 of nothing.
#[expect(clippy::cast_precision_loss, reason = "counts of tokens are far below 2^53")]
fn hundredfold(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (100 * part) as f64 / whole as f64 }
}

fn put(text: &mut Vec<u8>, arguments: std::fmt::Arguments) {
    text.write_fmt(arguments).expect("a vector takes every byte");
}

/// Why the script ends early.
struct Death {
    message: Vec<u8>,
    code: u8,
}

fn die(message: impl Into<Vec<u8>>) -> Death {
    Death { message: message.into(), code: 255 }
}

/// The options of the command line.
struct Options {
    latex: bool,
    raw: bool,
    delimiter: String,
    outside: String,
}

impl Options {
    /// The script looks at options up to the first argument that does not begin with a hyphen, and takes no other arguments.
    fn parse(args: &[String]) -> Result<Self, Death> {
        let mut options = Self { latex: false, raw: false, delimiter: " ".into(), outside: "O".into() };
        let mut args = args.iter().peekable();
        while let Some(argument) = args.next_if(|argument| argument.starts_with('-')) {
            // The line numbers are those of the script.
            match argument.as_str() {
                "-l" => options.latex = true,
                "-r" => options.raw = true,
                "-d" => options.delimiter.clone_from(args.next().ok_or_else(|| die("conlleval: -d requires delimiter character at conlleval.pl line 69."))?),
                "-o" => options.outside.clone_from(args.next().ok_or_else(|| die("conlleval: -o requires delimiter character at conlleval.pl line 75."))?),
                unknown => return Err(die(format!("conlleval: unknown argument {unknown}"))),
            }
        }
        if args.next().is_some() { Err(die("conlleval: unexpected command line argument")) } else { Ok(options) }
    }
}

/// Reads lines of fields of which the last two are the gold and the predicted tag.
fn read(options: &Options, stdin: &[u8], stderr: &mut Vec<u8>) -> Result<PhraseCounts, Death> {
    let mut counter = PhraseCounter::default();
    let mut n_fields = 0;
    if stdin.is_empty() {
        return Ok(counter.finish());
    }
    let delimiter = Regex::new(&format!("(?-u:{})", options.delimiter))
        .map_err(|error| die(format!("conlleval: -d {}: not a regular expression: {}", options.delimiter, last_line(&error.to_string()))))?;
    for (index, line) in stdin.strip_suffix(b"\n").unwrap_or(stdin).split(|byte| *byte == b'\n').enumerate() {
        let mut fields = split(&delimiter, line);
        if n_fields == 0 {
            n_fields = fields.len();
        } else if fields.len() != n_fields && !fields.is_empty() {
            let message = format!("unexpected number of features: {} ({n_fields})", fields.len());
            return Err(Death { message: message.into_bytes(), code: 1 });
        }
        if fields.first().is_none_or(|first| *first == BOUNDARY) {
            counter.boundary();
            continue;
        }
        let (Some(found), Some(gold)) = (fields.pop(), fields.pop()) else {
            return Err(die([b"conlleval: unexpected number of features in line ", line].concat()));
        };
        if fields.is_empty() {
            // Without a word in front of the tags the script compares nothing with `-X-`, which Perl remarks on.
            for (comparison, at) in [("eq", 130), ("ne", 162)] {
                let remark = "Use of uninitialized value $firstItem in string";
                put(stderr, format_args!("{remark} {comparison} at conlleval.pl line {at}, <STDIN> line {}.\n", index + 1));
            }
        }
        if options.raw {
            counter.token(&raw(gold, &options.outside), &raw(found, &options.outside));
        } else {
            counter.token(gold, found);
        }
    }
    Ok(counter.finish())
}

/// A tag of `-r`: every token is a phrase of its own.
fn raw(tag: &[u8], outside: &str) -> Vec<u8> {
    if tag == outside.as_bytes() || tag == b"O" { b"O".to_vec() } else { [b"B-", tag].concat() }
}

/// Splits as Perl does: captured groups become fields, an empty match never stands at the place where the search begins, trailing empty fields are dropped.
fn split<'a>(delimiter: &Regex, line: &'a [u8]) -> Vec<&'a [u8]> {
    let mut fields = Vec::new();
    let mut start = 0;
    while start < line.len() {
        let found = delimiter.captures_at(line, start).filter(|groups| !groups[0].is_empty() || groups.get(0).is_some_and(|found| found.start() > start));
        let Some(groups) = found.or_else(|| delimiter.captures_at(line, start + 1)) else { break };
        let whole = groups.get(0).expect("the whole match");
        // An empty match at the end of the line separates nothing.
        if whole.start() == line.len() {
            break;
        }
        fields.push(&line[start..whole.start()]);
        fields.extend((1..groups.len()).map(|group| groups.get(group).map_or(&b""[..], |group| group.as_bytes())));
        start = whole.end();
    }
    fields.push(&line[start..]);
    while fields.last().is_some_and(|field| field.is_empty()) {
        fields.pop();
    }
    fields
}

fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or_default().trim_start_matches("error: ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(args: &[&str], stdin: &[u8]) -> (String, String, u8) {
        let args: Vec<String> = args.iter().map(|argument| (*argument).to_owned()).collect();
        let Outcome { stdout, stderr, code } = run(&args, stdin);
        (String::from_utf8_lossy(&stdout).into_owned(), String::from_utf8_lossy(&stderr).into_owned(), code)
    }

    /// Tokens, gold, found and correct phrases of lines of two tags.
    fn counted(tags: &str) -> [u64; 4] {
        let lines: String = tags.split(',').map(|pair| if pair.is_empty() { "\n".into() } else { format!("w {pair}\n") }).collect();
        let mut stderr = Vec::new();
        let options = Options::parse(&[]).ok().expect("no arguments");
        let counts = read(&options, lines.as_bytes(), &mut stderr).ok().expect("well-formed lines");
        [counts.tokens, counts.total.gold, counts.total.found, counts.total.correct]
    }

    #[test]
    fn phrases_are_counted_by_hand() {
        for (tags, expected, why) in [
            ("B-X B-X,I-X I-X,O O", [3, 1, 1, 1], "the same phrase"),
            ("B-X B-X,I-X O", [2, 1, 1, 0], "found too short"),
            ("B-X B-X,O I-X", [2, 1, 1, 0], "found too long"),
            ("B-X B-Y", [1, 1, 1, 0], "another type"),
            ("O I-X,I-X I-X", [2, 1, 1, 0], "`O I` begins a phrase; found begins too early"),
            ("I-X I-X,I-Y I-Y", [2, 2, 2, 2], "a new type begins a phrase"),
            ("B-X B-X,B-X B-X", [2, 2, 2, 2], "`B` begins one"),
            ("B-X B-X,,I-X I-X", [2, 2, 2, 2], "a boundary ends one"),
            ("E-X E-X,B-X B-X", [2, 1, 1, 1], "`E B` of one type does not"),
            ("E-X E-X,E-X E-X", [2, 2, 2, 2], "`E E` does"),
            ("S-X S-X,S-X S-X", [2, 1, 1, 1], "`S` has no rule but that of the type"),
            ("[-X [-X,]-X ]-X", [2, 2, 2, 2], "brackets are phrases of one token"),
            (".-X .-X,.-Y .-Y", [2, 0, 0, 0], "a dot is outside"),
            ("B B,I I", [2, 1, 1, 1], "untyped"),
            ("B-0 B,I I-0", [2, 1, 1, 1], "the type 0 is no type"),
            ("B-a-b B-a-b,I-a-b I-a-c", [2, 1, 2, 0], "types may hold hyphens"),
            ("B-X B-X", [1, 1, 1, 1], "open at the end"),
        ] {
            assert_eq!(counted(tags), expected, "{why}");
        }
    }

    #[test]
    fn the_report_has_its_layout() {
        let (stdout, stderr, code) = outcome(&[], b"a B-X B-X\nb I-X I-X\nc O O\n\nd O B-Longer\n");
        // 3 of 4 tags, 1 of 2 found, 1 of 1 there: F = 2 * 50 * 100 / 150.
        let expected = "processed 4 tokens with 1 phrases; found: 2 phrases; correct: 1.\n\
                        accuracy:  75.00%; precision:  50.00%; recall: 100.00%; FB1:  66.67\n           \
                        Longer: precision:   0.00%; recall:   0.00%; FB1:   0.00  1\n                \
                        X: precision: 100.00%; recall: 100.00%; FB1: 100.00  1\n";
        assert_eq!((stdout.as_str(), stderr.as_str(), code), (expected, "", 0));
    }

    #[test]
    fn counts_of_published_runs_give_the_printed_percentages() {
        // NCBI disease, two READMEs of BioBERT: 24 497 words, 960 phrases; found, correct, and what conlleval printed.
        for (found, correct, printed) in
            [(993, 866, "precision:  87.21%; recall:  90.21%; FB1:  88.68"), (983, 852, "precision:  86.67%; recall:  88.75%; FB1:  87.70")]
        {
            let total = Counts { correct, found, gold: 960 };
            let counts = PhraseCounts { tokens: 24_497, correct_tags: 24_147, total, by_type: [(b"MISC".to_vec(), total)].into() };
            let report = String::from_utf8(counts.report()).unwrap();
            assert!(report.starts_with(&format!("processed 24497 tokens with 960 phrases; found: {found} phrases; correct: {correct}.\n")), "{report}");
            assert!(report.contains(printed), "{report}");
        }
    }

    #[test]
    fn latex_has_its_layout() {
        let (stdout, _, _) = outcome(&["-l"], b"a B-X B-X\nb B-X O\n");
        let expected = "        & Precision &  Recall  & F$_{\\beta=1} \\\\\\hline\n\
                        X       &  100.00\\% &  50.00\\% &  66.67 \\\\\\hline\nOverall &  100.00\\% &  50.00\\% &  66.67 \\\\\\hline\n";
        assert_eq!(stdout, expected);
    }

    #[test]
    fn raw_tags_are_phrases_of_one_token() {
        let (stdout, ..) = outcome(&["-r", "-o", "NONE"], b"a NONE X\nb X X\nc X Y\n");
        assert!(stdout.starts_with("processed 3 tokens with 2 phrases; found: 3 phrases; correct: 1.\n"), "{stdout}");
        let (without_raw, ..) = outcome(&["-o", "NONE"], b"a NONE NONE\n");
        assert!(without_raw.starts_with("processed 1 tokens with 0 phrases"), "no type change: {without_raw}");
    }

    #[test]
    fn untyped_phrases_of_both_sides_are_printed_twice() {
        let line = "                 : precision: 100.00%; recall: 100.00%; FB1: 100.00  1\n";
        assert!(outcome(&[], b"w B B\n").0.ends_with(&line.repeat(2)));
        let (one_side, ..) = outcome(&[], b"w O B\n");
        assert_eq!(one_side.matches("                 : ").count(), 1, "{one_side}");
    }

    #[test]
    fn nothing_is_processed_without_a_second_line() {
        for stdin in [&b""[..], b"\n\n", b"  \n", b"-X- O O\n"] {
            assert_eq!(outcome(&[], stdin), ("processed 0 tokens with 0 phrases; found: 0 phrases; correct: 0.\n".into(), String::new(), 0));
        }
    }

    #[test]
    fn mistakes_end_as_they_do_in_perl() {
        for (args, stdin, stderr, code) in [
            (&["-x"][..], &b""[..], "conlleval: unknown argument -x\n", 255),
            (&["-l", "file"], b"", "conlleval: unexpected command line argument\n", 255),
            (&["-d"], b"", "conlleval: -d requires delimiter character at conlleval.pl line 69.\n", 255),
            (&["-o"], b"", "conlleval: -o requires delimiter character at conlleval.pl line 75.\n", 255),
            (&[], b"a B-X B-X\nb O\n", "unexpected number of features: 2 (3)\n", 1),
            (&[], b"aa\n", "conlleval: unexpected number of features in line aa\n", 255),
            (&["-d", "*"], b"a O O\n", "conlleval: -d *: not a regular expression: repetition operator missing expression\n", 255),
        ] {
            assert_eq!(outcome(args, stdin), (String::new(), stderr.into(), code));
        }
        assert_eq!(outcome(&["-d", "*"], b"").2, 0, "the delimiter is first looked at when a line is there");
    }

    #[test]
    fn two_columns_are_remarked_on_and_counted() {
        let (stdout, stderr, code) = outcome(&[], b"B-X B-X\n");
        assert!(stdout.starts_with("processed 1 tokens with 1 phrases; found: 1 phrases; correct: 1.\n"), "{stdout}");
        let expected = "Use of uninitialized value $firstItem in string eq at conlleval.pl line 130, <STDIN> line 1.\n\
                        Use of uninitialized value $firstItem in string ne at conlleval.pl line 162, <STDIN> line 1.\n";
        assert_eq!((stderr.as_str(), code), (expected, 0));
    }

    #[test]
    fn lines_are_split_as_perl_splits() {
        for (delimiter, line, fields) in [
            (" ", "a b", &["a", "b"][..]),
            (" ", " a  b  ", &["", "a", "", "b"]),
            (" ", "   ", &[]),
            ("\\t", "a\tb\t\t", &["a", "b"]),
            ("\\s+", "a \t b", &["a", "b"]),
            ("", "abc", &["a", "b", "c"]),
            (",*", "a,,bc", &["a", "b", "c"]),
            ("(,)", "a,b", &["a", ",", "b"]),
            ("(,)|(;)", "a;b", &["a", "", ";", "b"]),
            ("x", "", &[]),
        ] {
            let delimiter = Regex::new(&format!("(?-u:{delimiter})")).unwrap();
            let split: Vec<&str> = split(&delimiter, line.as_bytes()).into_iter().map(|field| std::str::from_utf8(field).unwrap()).collect();
            assert_eq!(split, fields, "{delimiter} {line:?}");
        }
    }

    #[test]
    fn bytes_need_not_be_utf8() {
        let Outcome { stdout, code, .. } = run(&[], b"\xff B-\xe9 B-\xe9\n");
        assert_eq!(code, 0);
        assert!(stdout.ends_with(b"                \xe9: precision: 100.00%; recall: 100.00%; FB1: 100.00  1\n"));
    }

    #[test]
    fn percentages_half_way_are_rounded_to_even_as_in_c() {
        // 1 of 800 and 5 of 800 are exactly 0.125 and 0.625 percent, 3 of 800 are 0.375.
        for (part, text) in [(1, "accuracy:   0.12%"), (3, "accuracy:   0.38%"), (5, "accuracy:   0.62%")] {
            let counts = PhraseCounts { tokens: 800, correct_tags: part, ..PhraseCounts::default() };
            assert!(String::from_utf8(counts.report()).unwrap().contains(text));
        }
    }

    #[test]
    fn counts_of_sentences_add_up_to_those_of_the_file() {
        let first: (&[&str], &[&str]) = (&["B-X", "I-X"], &["B-X", "I-X"]);
        let second: (&[&str], &[&str]) = (&["I-X", "O"], &["I-X", "B-Y"]);
        let mut sum = PhraseCounts::of(&[first]).unwrap();
        sum += PhraseCounts::of(&[second]).unwrap();
        assert_eq!(sum, PhraseCounts::of(&[first, second]).unwrap());
        assert_eq!((sum.tokens, sum.total, sum.accuracy()), (4, Counts { correct: 2, found: 3, gold: 2 }, 0.75));
        assert!(PhraseCounts::of::<&str, &str>(&[(&["O"], &[])]).is_err());
    }

    #[test]
    fn the_cases_made_with_the_script_agree() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/golden/conlleval.json");
        let Ok(text) = std::fs::read_to_string(path) else {
            println!("skipped: no {path}");
            return;
        };
        let cases: serde_json::Value = serde_json::from_str(&text).unwrap();
        let cases = cases.as_array().unwrap();
        assert_eq!(cases.len(), 30);
        for (index, case) in cases.iter().enumerate() {
            let args: Vec<&str> = case["args"].as_array().unwrap().iter().map(|argument| argument.as_str().unwrap()).collect();
            let (stdout, _, code) = outcome(&args, case["stdin"].as_str().unwrap().as_bytes());
            assert_eq!((stdout.as_str(), i64::from(code)), (case["stdout"].as_str().unwrap(), case["rc"].as_i64().unwrap()), "case {index}");
        }
    }
}
