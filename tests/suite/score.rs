//! `lmprobe score`: what the scorers print, and what they say of files that are not what they should be.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::program::{Finished, lmprobe};

/// A folder of files, in which the program runs.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().expect("a folder"));
        for (name, text) in files {
            folder.write(name, text.as_bytes());
        }
        folder
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.0.path().join(name), bytes).expect("the file can be written");
    }

    fn score(&self, arguments: &[&str]) -> Finished {
        let arguments: Vec<&str> = ["score"].into_iter().chain(arguments.iter().copied()).collect();
        Finished::of(lmprobe(&arguments).current_dir(self.0.path()))
    }
}

/// Runs `lmprobe score conll` on standard input: exit code, standard output and standard error as bytes.
fn conll(arguments: &[&str], stdin: &[u8]) -> (i32, Vec<u8>, Vec<u8>) {
    let arguments: Vec<&str> = ["score", "conll"].into_iter().chain(arguments.iter().copied()).collect();
    let mut child = lmprobe(&arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let mut pipe = child.stdin.take().expect("a pipe");
    // A program that refuses its arguments may have ended before it reads.
    let _ = pipe.write_all(stdin);
    drop(pipe);
    let output = child.wait_with_output().expect("the program ends");
    (output.status.code().expect("no signal"), output.stdout, output.stderr)
}

const TAGGED: &str = "a B-X B-X\nb I-X I-X\nc O O\n\nd O B-Y\ne B-X O\n";

const TAGGED_REPORT: &str = "processed 5 tokens with 2 phrases; found: 2 phrases; correct: 1.\n\
                             accuracy:  60.00%; precision:  50.00%; recall:  50.00%; FB1:  50.00\n                \
                             X: precision: 100.00%; recall:  50.00%; FB1:  66.67  1\n                \
                             Y: precision:   0.00%; recall:   0.00%; FB1:   0.00  1\n";

#[test]
fn conll_prints_what_conlleval_prints() {
    let (code, stdout, stderr) = conll(&[], TAGGED.as_bytes());
    assert_eq!((code, String::from_utf8_lossy(&stdout).as_ref(), stderr.as_slice()), (0, TAGGED_REPORT, &b""[..]));
    let folder = Folder::new(&[("out.txt", TAGGED), ("tabs.txt", &TAGGED.replace(' ', "\t"))]);
    assert_eq!(folder.score(&["conll", "out.txt"]).exits(0).stdout, TAGGED_REPORT);
    assert_eq!(folder.score(&["conll", "-d", "\\t", "tabs.txt"]).exits(0).stdout, TAGGED_REPORT);
    let raw = folder.score(&["conll", "-r", "-o", "O", "out.txt"]).exits(0).stdout;
    assert!(raw.starts_with("processed 5 tokens with 3 phrases; found: 3 phrases; correct: 2.\n"), "{raw}");
    let latex = folder.score(&["conll", "-l", "out.txt"]).exits(0).stdout;
    assert!(latex.contains("\\\\\\hline\nOverall &   50.00\\% &  50.00\\% &  50.00 \\\\\\hline\n"), "{latex}");
}

#[test]
fn conll_refuses_as_conlleval_refuses() {
    for (arguments, stdin, code, stderr) in [
        (&["-x"][..], "", 255, "conlleval: unknown argument -x\n"),
        (&["--raw"], "", 255, "conlleval: unknown argument --raw\n"),
        (&["-d"], "", 255, "conlleval: -d requires delimiter character at conlleval.pl line 69.\n"),
        (&["a", "b"], "", 255, "conlleval: unexpected command line argument\n"),
        (&[], "aa\n", 255, "conlleval: unexpected number of features in line aa\n"),
        (&[], "a O O\nb O\n", 1, "unexpected number of features: 2 (3)\n"),
    ] {
        let (found, stdout, said) = conll(arguments, stdin.as_bytes());
        assert_eq!((found, stdout.as_slice(), String::from_utf8_lossy(&said).as_ref()), (code, &b""[..], stderr), "{arguments:?}");
    }
}

#[test]
fn conll_takes_bytes_and_line_ends_as_they_are() {
    let (code, stdout, _) = conll(&[], b"\xe9 B-\xe9 B-\xe9\n");
    assert_eq!(code, 0);
    assert!(stdout.ends_with(b"                \xe9: precision: 100.00%; recall: 100.00%; FB1: 100.00  1\n"));
    // A carriage return becomes part of the predicted type, as in Perl.
    let (code, stdout, _) = conll(&[], b"a B-X B-X\r\n");
    assert_eq!(code, 0);
    assert!(stdout.starts_with(b"processed 1 tokens with 1 phrases; found: 1 phrases; correct: 0.\n"));
}

#[test]
fn a_file_that_is_not_there_ends_with_3() {
    let folder = Folder::new(&[]);
    assert!(folder.score(&["conll", "none.txt"]).exits(3).stderr.contains("none.txt: No such file"));
}

#[test]
fn strict_scores_leave_ill_formed_tags_out_and_count_them() {
    let folder = Folder::new(&[("out.txt", "a B-X B-X\nb I-X I-X\nc O O\n\nd O I-Y\ne B-X O\n")]);
    let text = folder.score(&["conll", "--strict", "out.txt"]).exits(0).stdout;
    assert!(text.starts_with("strict IOB2: an entity is right if"), "{text}");
    assert!(text.contains("2 sentences, 5 tokens; ill-formed tags: 0 gold, 1 predicted\n"), "{text}");
    assert!(text.contains("\nall, micro              1.0000  0.5000  0.6667        1        1        2\n"), "{text}");
    let scores = folder.score(&["conll", "-d", " ", "--strict", "--json", "out.txt"]).exits(0).json();
    assert_eq!(scores["micro"], json!({"precision": 1.0, "recall": 0.5, "f1": 2.0 / 3.0, "correct": 1, "found": 1, "gold": 2}));
    assert_eq!((&scores["scheme"], &scores["ill_formed"]["predicted"]), (&json!("IOB2"), &json!(1)));
}

#[test]
fn strict_scores_read_iobes_where_its_letters_are() {
    let folder = Folder::new(&[("out.txt", "a S-X S-X\nb B-X B-X\nc E-X I-X\n")]);
    let scores = folder.score(&["conll", "--strict", "--json", "out.txt"]).exits(0).json();
    assert_eq!((&scores["scheme"], &scores["micro"]["correct"], &scores["micro"]["found"]), (&json!("IOBES"), &json!(1), &json!(1)));
    let refused = folder.score(&["conll", "--strict", "--scheme", "iob2", "out.txt"]).exits(3).stderr;
    assert!(refused.contains("out.txt:1: tag `S-X`: IOB2 has `O`, `B-type`, `I-type`"), "{refused}");
}

#[test]
fn strict_scores_read_the_files_of_biobert_and_what_conlleval_reads() {
    let folder = Folder::new(&[("out.txt", "a B-MISC B-MISC\nb I-MISC O-MISC \n-X- O O\nc I-MISC I-MISC\nd O-MISC O-MISC\t \n\n-X-\ne B-MISC B-MISC\n")]);
    let scores = folder.score(&["conll", "--strict", "--json", "out.txt"]).exits(0).json();
    assert_eq!((&scores["scheme"], &scores["sentences"], &scores["tokens"]), (&json!("IOB2"), &json!(3), &json!(5)));
    // `I-MISC` behind a boundary continues nothing.
    assert_eq!(scores["ill_formed"], json!({"gold": 1, "predicted": 1}));
    assert_eq!((&scores["micro"]["correct"], &scores["micro"]["found"], &scores["micro"]["gold"]), (&json!(1), &json!(2), &json!(2)));
    let lines: String = ["a B-MISC B-MISC ", "-X- O O", "b I-MISC O-MISC"].map(|line| format!("{line}\n")).concat();
    folder.write("both.txt", lines.as_bytes());
    assert!(folder.score(&["conll", "both.txt"]).exits(0).stdout.starts_with("processed 2 tokens with 2 phrases; found: 1 phrases; correct: 1.\n"));
    assert_eq!(folder.score(&["conll", "--strict", "--json", "both.txt"]).exits(0).json()["tokens"], json!(2));
}

#[test]
fn strict_scores_refuse_malformed_files_with_the_line() {
    let folder = Folder::new(&[]);
    for (bytes, said) in [
        (&b"a O O\nb O\n"[..], "f.txt:2: 2 columns, expected 3 as in the first line"),
        (b"a\n", "f.txt:1: 1 column, expected a gold and a predicted tag at the end"),
        (b"", "f.txt: the file is empty"),
        (b"a O O\r\n", "f.txt:1: the line ends in a carriage return"),
        (b"\xef\xbb\xbfa O O\n", "f.txt:1: the file begins with a byte order mark"),
        (b"a O O\n\xff O O\n", "f.txt:2: byte 0xff is not UTF-8"),
    ] {
        folder.write("f.txt", bytes);
        let stderr = folder.score(&["conll", "--strict", "f.txt"]).exits(3).stderr;
        assert!(stderr.contains(said), "{stderr}");
    }
    for arguments in [&["conll", "--strict", "-r", "f.txt"][..], &["conll", "--json", "f.txt"], &["conll", "--strict", "-d", "(", "f.txt"]] {
        folder.score(arguments).exits(2);
    }
}

const RESULTS: &str = "0.9\t0.1\n0.2\t0.8\n0.4\t0.6\n0.7\t0.3\n";
const ANSWERS: &str = "index\tsentence\tlabel\n0\ta\t0\n1\tb\t1\n2\tc\t0\n3\td\t1\n";

#[test]
fn re_prints_what_re_eval_prints() {
    let folder = Folder::new(&[("test_results.tsv", RESULTS), ("test.tsv", ANSWERS)]);
    let expected = "f1 score    : 50.00%\nrecall      : 50.00%\nprecision   : 50.00%\nspecificity : 50.00%\n";
    let files = ["--output_path", "test_results.tsv", "--answer_path", "test.tsv"];
    assert_eq!(folder.score(&["re", files[0], files[1], files[2], files[3]]).exits(0).stdout, expected);
    let scores = folder.score(&["re", "--output", "test_results.tsv", "--answer", "test.tsv", "--task", "binary", "--json"]).exits(0).json();
    assert_eq!((&scores["n"], &scores["scores"]["f1"], &scores["confusion"]["cells"]), (&json!(4), &json!(0.5), &json!([1, 1, 1, 1])));
}

#[test]
fn re_refuses_files_that_do_not_fit() {
    let folder = Folder::new(&[("test_results.tsv", RESULTS), ("test.tsv", ANSWERS)]);
    folder.write("short.tsv", b"0.9\t0.1\n");
    folder.write("labels.tsv", ANSWERS.replace("\t1\n", "\t2\n").as_bytes());
    folder.write("windows.tsv", ANSWERS.replace('\n', "\r\n").as_bytes());
    for (output, answer, task, said) in [
        ("short.tsv", "test.tsv", "binary", "test.tsv and short.tsv: 4 gold labels against 1 predicted"),
        ("test_results.tsv", "labels.tsv", "binary", "labels.tsv:3: unknown label `2`; the labels are `0`, `1`"),
        ("test_results.tsv", "test.tsv", "chemprot", "test_results.tsv:1: 2 columns, expected 6"),
        ("test_results.tsv", "windows.tsv", "binary", "windows.tsv:1: the line ends in a carriage return"),
    ] {
        let stderr = folder.score(&["re", "--output", output, "--answer", answer, "--task", task]).exits(3).stderr;
        assert!(stderr.contains(said), "{stderr}");
    }
}

fn bioasq_files() -> Folder {
    let gold = r#"{"questions": [
        {"id": "a", "type": "factoid", "exact_answer": [["Alpha", "alpha-1"]]}, {"id": "b", "type": "factoid", "exact_answer": [["Beta"]]},
        {"id": "c", "type": "yesno", "exact_answer": "yes"}, {"id": "d", "type": "summary"}]}"#;
    let system = r#"{"questions": [{"id": "a", "exact_answer": [["x"], ["alpha1"], ["ALPHA-1"]]}, {"id": "c", "exact_answer": "Yes"}]}"#;
    Folder::new(&[("gold.json", gold), ("system.json", system)])
}

#[test]
fn bioasq_names_the_reading_of_every_number() {
    let folder = bioasq_files();
    let finished = folder.score(&["bioasq", "gold.json", "system.json"]).exits(0);
    assert!(finished.stderr.contains("1 questions of the gold are not answered"), "{}", finished.stderr);
    assert!(finished.stdout.contains("official    complete  normalized\n"), "{}", finished.stdout);
    // Rank 3 of 3, the question without an answer left out, counted, and rank 2 without the hyphen.
    assert!(finished.stdout.contains("\nMRR                 0.3333      0.1667      0.2500\n"), "{}", finished.stdout);
    let scores = folder.score(&["bioasq", "gold.json", "system.json", "--json"]).exits(0).json();
    assert_eq!((&scores["missing"], &scores["variants"]["complete"]["factoid"]), (&json!(1), &json!(2)));
    assert_eq!(scores["variants"]["official"]["measures"]["lenient_accuracy"], json!(1.0));
}

#[test]
fn bioasq_prints_the_line_of_the_evaluator() {
    let finished = bioasq_files().score(&["bioasq", "--official", "gold.json", "system.json"]).exits(0);
    assert_eq!(finished.stdout, "1.0 0.0 1.0 0.3333333333333333 0.0 0.0 0.0 0.5 1.0 0.0");
}

#[test]
fn bioasq_says_which_answers_do_not_fit_their_questions() {
    let folder = bioasq_files();
    let system = r#"{"questions": [{"id": "a", "exact_answer": "ALPHA-1"}, {"id": "b", "type": "factoid"}, {"id": "c", "exact_answer": ["yes"]}, {"id": "z", "exact_answer": "no"}]}"#;
    folder.write("system.json", system.as_bytes());
    let finished = folder.score(&["bioasq", "--official", "gold.json", "system.json"]).exits(0);
    assert_eq!(finished.stdout, "0.0 0.0 0.0 0.0 0.0 0.0 0.0 0.0 0.0 0.0", "numbers are those of the evaluator");
    for said in [
        "2 answers do not have the form that their question asks for (`\"yes\"` or `\"no\"`, or a list of lists of texts) and count as wrong; the first is `a`",
        "1 questions are there without an `exact_answer` and count as wrong; the first is `b`",
        "1 answers are to questions that gold.json does not have; they do not count; the first is `z`",
    ] {
        assert!(finished.stderr.contains(said), "{said}: {}", finished.stderr);
    }
    let scores = folder.score(&["bioasq", "gold.json", "system.json", "--json"]).exits(0).json();
    assert_eq!(scores["misfits"], json!({"wrong_form": ["a", "c"], "no_answer": ["b"], "unknown": ["z"]}));
    folder.write("system.json", br#"{"questions": [{"id": "a", "exact_answer": [], "exact_answer": []}]}"#);
    let stderr = folder.score(&["bioasq", "gold.json", "system.json"]).exits(3).stderr;
    assert!(stderr.contains("system.json:1: the key `exact_answer` comes twice; keep one"), "{stderr}");
}

#[test]
fn bioasq_refuses_what_is_no_gold() {
    let folder = bioasq_files();
    let stderr = folder.score(&["bioasq", "system.json", "gold.json"]).exits(3).stderr;
    assert!(stderr.contains("system.json: question `a`: no `type`"), "{stderr}");
    folder.score(&["bioasq", "gold.json"]).exits(2);
}

#[test]
fn squad_counts_missing_answers_as_wrong_and_says_so() {
    let gold = r#"{"data": [{"paragraphs": [{"context": "c", "qas": [
        {"id": "a", "answers": [{"text": "the IL-2 gene", "answer_start": 0}]}, {"id": "b", "answers": [{"text": "liver", "answer_start": 0}]}]}]}]}"#;
    let folder = Folder::new(&[("gold.json", gold), ("predictions.json", r#"{"a": "IL2 gene", "z": "x"}"#)]);
    let finished = folder.score(&["squad", "gold.json", "predictions.json"]).exits(0);
    assert_eq!(finished.stdout, "exact_match  0.5000\nf1           0.5000\nquestions    2\nmissing      1\n");
    assert!(finished.stderr.contains("1 of 2 questions have no prediction and count as wrong; the first is `b`"), "{}", finished.stderr);
    assert!(finished.stderr.contains("1 predictions are for questions that gold.json does not have"), "{}", finished.stderr);
    let scores = folder.score(&["-q", "squad", "gold.json", "predictions.json", "--json"]);
    assert_eq!(scores.code, Some(0), "{}", scores.stderr);
    assert_eq!((&scores.json()["f1"], &scores.json()["missing"], scores.stderr.as_str()), (&json!(0.5), &json!(["b"]), ""));
    folder.write("predictions.json", b"[]");
    let stderr = folder.score(&["squad", "gold.json", "predictions.json"]).exits(3).stderr;
    assert!(stderr.contains("predictions.json: expected an object of answers by question id"), "{stderr}");
    folder.write("predictions.json", b"{\"a\": \"x\",\n\"a\": \"IL2 gene\"}");
    let stderr = folder.score(&["squad", "gold.json", "predictions.json"]).exits(3).stderr;
    assert!(stderr.contains("predictions.json:2: the key `a` comes twice; keep one"), "{stderr}");
}

#[test]
fn squad_takes_ids_that_are_numbers() {
    let gold = r#"{"data": [{"paragraphs": [{"context": "c", "qas": [{"id": 262, "answers": [{"text": "liver", "answer_start": 0}]}]}]}]}"#;
    let folder = Folder::new(&[("gold.json", gold), ("predictions.json", r#"{"262": "liver"}"#)]);
    assert_eq!(folder.score(&["squad", "gold.json", "predictions.json", "--json"]).exits(0).json()["exact_match"], json!(1.0));
    folder.write("gold.json", gold.replace("262", "[262]").as_bytes());
    let stderr = folder.score(&["squad", "gold.json", "predictions.json"]).exits(3).stderr;
    assert!(stderr.contains("the `id` is a list, expected a text or a number"), "{stderr}");
}

/// BioLinkBERT-base in Table 2 of arXiv:2203.15827.
const BIOLINKBERT: [(&str, f64); 13] = [
    ("BC5-chem", 93.75),
    ("BC5-disease", 86.10),
    ("NCBI-disease", 88.18),
    ("BC2GM", 84.90),
    ("JNLPBA", 79.03),
    ("EBM PICO", 73.97),
    ("ChemProt", 77.57),
    ("DDI", 82.72),
    ("GAD", 84.39),
    ("BIOSSES", 93.25),
    ("HoC", 84.35),
    ("PubMedQA", 70.20),
    ("BioASQ", 91.43),
];

#[test]
fn blurb_reads_every_form_of_thirteen_results() {
    let lines = |separator: &str| BIOLINKBERT.map(|(name, value)| format!("{name}{separator}{value}\n")).concat();
    let object: serde_json::Map<String, Value> = BIOLINKBERT.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    let json = Value::from(object).to_string();
    let files = [("a.tsv", lines("\t")), ("b.csv", format!("data set,result\n{}", lines(","))), ("c.json", json)];
    for (name, text) in &files {
        let stdout = Folder::new(&[(name, text)]).score(&["blurb", name]).exits(0).stdout;
        assert!(stdout.ends_with("BLURB score       83.3895\n"), "{name}: {stdout}");
    }
}

#[test]
fn blurb_without_all_results_is_no_blurb_score() {
    let folder = Folder::new(&[("some.tsv", "GAD\t0.8\nHoC\t0.9\n")]);
    let stderr = folder.score(&["blurb", "some.tsv"]).exits(3).stderr;
    assert!(stderr.contains("some.tsv: no result of BC5-chem, BC5-disease, ") && stderr.contains("--partial takes the mean of what is there"), "{stderr}");
    let finished = folder.score(&["blurb", "some.tsv", "--partial"]).exits(0);
    assert!(finished.stdout.ends_with("partial mean       0.8500\n"), "{}", finished.stdout);
    assert!(finished.stderr.contains("this is the mean over 2 of 13 data sets and no BLURB score; missing: BC5-chem, "), "{}", finished.stderr);
    for (text, said) in [
        ("GAD\t0.8\nBC5-chm\t0.9\n", "f.tsv:2: unknown data set `BC5-chm`; did you mean `BC5-chem`?"),
        ("GAD\t0.8\nHoC 0.9\n", "f.tsv:2: 1 columns, expected 2: a data set and its result, separated by a tab"),
        ("GAD\tgood\n", "f.tsv:1: the result of `GAD` is `good`, expected a number"),
        ("GAD\t0.8\ngad\t0.8\n", "f.tsv:2: GAD has two results"),
        (
            "GAD\t0.8\nHoC\t84\n",
            "f.tsv: HoC is 84, a percentage, and GAD is 0.8, which looks like a fraction; give all results in one unit, and name it if this is it: --unit percent",
        ),
    ] {
        folder.write("f.tsv", text.as_bytes());
        let stderr = folder.score(&["blurb", "f.tsv", "--partial"]).exits(3).stderr;
        assert!(stderr.contains(said), "{stderr}");
    }
}

#[test]
fn blurb_takes_the_unit_from_all_results_or_as_it_is_told() {
    let folder = Folder::new(&[("some.tsv", "GAD\t80\nBIOSSES\t0\n"), ("one.tsv", "GAD\t80\nBIOSSES\t0.5\n")]);
    assert!(folder.score(&["blurb", "some.tsv", "--partial"]).exits(0).stdout.ends_with("partial mean      40.0000\n"));
    folder.score(&["blurb", "one.tsv", "--partial"]).exits(3);
    let scores = folder.score(&["blurb", "one.tsv", "--partial", "--unit", "percent", "--json"]).exits(0).json();
    assert_eq!((&scores["score"], &scores["unit"]), (&json!(40.25), &json!("percent")));
    let stderr = folder.score(&["blurb", "one.tsv", "--partial", "--unit", "fraction"]).exits(3).stderr;
    assert!(stderr.contains("one.tsv: GAD is 80, which is no fraction"), "{stderr}");
}

#[test]
fn blurb_refuses_a_data_set_that_comes_twice() {
    let folder = Folder::new(&[("f.json", "{\"GAD\": 0.5,\n \"GAD\": 0.9}"), ("a.tsv", "GAD\t0.5\n"), ("list.json", "[]")]);
    let stderr = folder.score(&["blurb", "f.json", "--partial"]).exits(3).stderr;
    assert!(stderr.contains("f.json:2: the key `GAD` comes twice; keep one"), "{stderr}");
    let stderr = folder.score(&["blurb", "a.tsv", "a.tsv", "--partial"]).exits(3).stderr;
    assert!(stderr.contains("a.tsv:1: GAD has two results"), "{stderr}");
    let stderr = folder.score(&["blurb", "list.json", "--partial"]).exits(3).stderr;
    assert!(stderr.contains("list.json: expected a JSON object of results by data set"), "{stderr}");
}

const PIECES: [(&str, &str); 3] = [
    ("token_test.txt", "[CLS]\nI\n##L\n##2\ngene\n[SEP]\n[CLS]\nx\n[SEP]\n"),
    ("label_test.txt", "[CLS]\nB\nX\nX\nI\n[SEP]\n[CLS]\nO\n[SEP]\n"),
    ("test.tsv", "IL2\tB\ngene\tI\n\nx\tO\ny\tB\n\n"),
];

const NER: [&str; 7] = ["ner", "--tokens", "token_test.txt", "--labels", "label_test.txt", "--gold", "test.tsv"];

#[test]
fn ner_puts_words_together_and_scores_what_was_cut_off() {
    let folder = Folder::new(&PIECES);
    let finished = folder.score(&[&NER[..], &["-o", "out"]].concat()).exits(0);
    assert!(finished.stdout.starts_with("processed 4 tokens with 2 phrases; found: 1 phrases; correct: 1.\n"), "{}", finished.stdout);
    assert!(finished.stderr.contains("1 sentences were cut off before their end; 1 words"), "{}", finished.stderr);
    let path = folder.0.path().join("out/NER_result_conll.txt");
    let written = std::fs::read_to_string(&path).expect("the file is there");
    assert_eq!(written, "IL2 B-MISC B-MISC\ngene I-MISC I-MISC\n\nx O-MISC O-MISC\ny B-MISC O-MISC\n\n");
    let again = folder.score(&["conll", path.to_str().expect("UTF-8")]).exits(0).stdout;
    assert_eq!(again, finished.stdout);
    let scores = folder.score(&[&NER[..], &["--json"]].concat()).exits(0).json();
    assert_eq!((&scores["gold"], &scores["correct"], &scores["recall"]), (&json!(2), &json!(1), &json!(0.5)));
}

#[test]
fn ner_replaces_a_file_only_when_it_is_told_to() {
    let folder = Folder::new(&PIECES);
    folder.write("NER_result_conll.txt", b"kept");
    let refused = folder.score(&[&NER[..], &["-o", "."]].concat()).exits(2);
    assert!(refused.stderr.contains("NER_result_conll.txt is there already; --force replaces it"), "{}", refused.stderr);
    assert_eq!(refused.stdout, "");
    let read = || std::fs::read_to_string(folder.0.path().join("NER_result_conll.txt")).expect("the file is there");
    assert_eq!(read(), "kept");
    folder.score(&[&NER[..], &["-o", ".", "--force"]].concat()).exits(0);
    assert!(read().starts_with("IL2 B-MISC B-MISC\n"));
    folder.score(&[&NER[..], &["--force"]].concat()).exits(2);
}

#[test]
fn ner_refuses_files_that_do_not_fit_and_writes_nothing() {
    let folder = Folder::new(&PIECES);
    folder.write("test.tsv", b"IL2\tNN\tB\n");
    let stderr = folder.score(&NER).exits(3).stderr;
    assert!(stderr.contains("test.tsv:1: 3 columns, expected 2: a word and its tag"), "{stderr}");
    folder.write("label_test.txt", b"[CLS]\n");
    let stderr = folder.score(&[&NER[..], &["-o", "out"]].concat()).exits(3).stderr;
    assert!(stderr.contains("label_test.txt: 1 labels for 9 tokens in token_test.txt"), "{stderr}");
    assert!(!folder.0.path().join("out").exists());
}

#[test]
fn golden_cases_of_conlleval_pass_through_the_program() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/golden/conlleval.json");
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("skipped: no {}", path.display());
        return;
    };
    let cases: Value = serde_json::from_str(&text).expect("JSON");
    for case in cases.as_array().expect("a list") {
        let arguments: Vec<&str> = case["args"].as_array().expect("a list").iter().map(|argument| argument.as_str().expect("text")).collect();
        let (code, stdout, _) = conll(&arguments, case["stdin"].as_str().expect("text").as_bytes());
        assert_eq!(
            (i64::from(code), String::from_utf8_lossy(&stdout).as_ref()),
            (case["rc"].as_i64().expect("a code"), case["stdout"].as_str().expect("text"))
        );
    }
}
