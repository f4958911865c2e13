//! What `lmprobe embed` refuses, what it says then, and that it leaves nothing behind.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use crate::embed::{Workspace, tiny};
use crate::program::lmprobe;

/// Asserts that a call is refused with this text and that no file appears.
#[track_caller]
fn refused(workspace: &Workspace, input: &str, more: &str, code: i32, said: &str) {
    let before = workspace.names();
    let finished = workspace.embed(&tiny("tiny-mlm"), input, more).exits(code);
    assert!(finished.stderr.contains(said), "{more}: {}", finished.stderr);
    assert_eq!(workspace.names(), before, "{more}");
}

#[test]
fn files_that_are_not_what_they_say_are_refused_with_the_line() {
    let workspace = Workspace::new();
    for (name, bytes, more, said) in [
        ("a.csv", &b"title,body\nx,y\n"[..], "", "a.csv: no column `text`; there are `title`, `body`; name the column of the texts with --column"),
        ("b.csv", b"title,body\nx,y\n", "--column txt", "b.csv: no column `txt`; there are `title`, `body`"),
        ("c.csv", b"text,n\nfever,1\nfever,pain,2\n", "", "c.csv:3: 3 cells, expected 2 as in the header"),
        ("c.tsv", b"text\tn\n\"a\tb\"\t1\n", "", "c.tsv:2: 3 cells, expected 2 as in the header; cells hold no tabs"),
        ("d.csv", b"text,n\nfever,\"1\nfever,2\n", "", "d.csv:2: a quote opens in this row and is never closed"),
        ("e.csv", b"", "", "e.csv: the file is empty"),
        ("f.csv", b"text\nfever\nf\xe9ver\n", "", "f.csv:3: byte 0xe9 is not UTF-8; save the file as UTF-8"),
        ("g.txt", b"fever\nf\xe9ver\n", "", "g.txt:2: byte 0xe9 is not UTF-8; save the file as UTF-8"),
        ("h.jsonl", b"{\"text\": \"fever\"}\n{\"text\": \"fe\n", "", "h.jsonl:2: not a JSON object on one line: "),
        ("i.jsonl", b"{\"text\": \"fever\"}\n[]\n", "", "i.jsonl:2: not a JSON object on one line: "),
        ("j.jsonl", b"{\"title\": \"fever\", \"n\": 1}\n", "", "j.jsonl:1: no field `text`; there are `title`, `n`"),
        ("k.jsonl", b"{\"text\": null}\n", "", "k.jsonl:1: the field `text` is null, expected text"),
        ("l.parquet", b"PAR1 and nothing else", "", "l.parquet: not a Parquet file ("),
        ("m.xlsx", b"PK", "", "m.xlsx: files ending in `.xlsx` are not read; texts are read from"),
        ("none.txt", b"", "--pooling mean-words", ""),
    ] {
        workspace.write(name, bytes);
        if said.is_empty() {
            workspace.embed(&tiny("tiny-mlm"), name, &format!("-o ok.npy {more}")).exits(0);
        } else {
            refused(&workspace, name, &format!("-o out.parquet {more}"), 3, said);
        }
    }
    refused(&workspace, "missing.txt", "-o out.npy", 3, "missing.txt: No such file");
    refused(&workspace, ".", "-o out.npy", 3, "this is a folder; name a file of texts");
    refused(&workspace, "texts.txt", "-o out.npy --column text", 2, "--column names a column, but texts.txt holds one text a line");
    refused(
        &workspace,
        "texts.txt",
        "-o out.npy --pooling mean-words",
        3,
        "texts.txt:3: this text gives no token to take the mean-words vector from; --skip-empty",
    );
}

#[test]
fn a_column_of_numbers_is_no_column_of_texts() {
    let workspace = Workspace::new();
    let column = polars::prelude::Column::new("n".into(), [1i64, 2]);
    let texts = polars::prelude::Column::new("text".into(), [Some("fever"), None]);
    let mut frame = polars::prelude::DataFrame::new(2, vec![column, texts]).unwrap();
    polars::prelude::ParquetWriter::new(std::fs::File::create(workspace.path("in.parquet")).unwrap()).finish(&mut frame).unwrap();
    refused(&workspace, "in.parquet", "-o out.npy --column n", 3, "in.parquet: the column `n` is of type i64, expected text");
    refused(&workspace, "in.parquet", "-o out.npy --column m", 3, "in.parquet: no column `m`; there are `n`, `text`");
    refused(&workspace, "in.parquet", "-o out.npy", 3, "in.parquet:2: the column `text` has no value in this row");
}

#[test]
fn wishes_that_do_not_fit_are_refused() {
    let workspace = Workspace::new();
    for (more, said) in [
        ("", "name the file to write with -o, or give --format jsonl"),
        ("--format npy", "npy cannot be written to standard output; name a file with -o"),
        ("-o out.csv", "out.csv: cannot tell the format from the ending; end it in .parquet, .safetensors, .npy or .jsonl"),
        ("-o out.npy --layers 7", "layer 7 does not exist: the model has hidden states 0 to 2"),
        ("-o out.npy --layers 2,-1", "layer 2 is asked for twice, as 2 and as -1"),
        ("-o out.npy --layers last", "`last` is no layer; write `all` or whole numbers with commas"),
        ("-o out.jsonl", "layer -4 does not exist: the model has hidden states 0 to 2"),
        ("-o out.jsonl --layers -1 --pooling mean", "jsonl holds a vector a token, so --pooling mean does not fit"),
        ("-o out.npy --with-text", "--with-text fits pooled parquet only"),
        ("-o out.npy --max-length 1000", "--max-length 1000: the model reads at most"),
        ("-o out.npy --max-length 0", "--max-length"),
        ("-o out.npy --batch-tokens 0", "--batch-tokens"),
        ("-o out.npy --pooling first", "possible values: tokens, cls, mean, mean-words, max, last"),
        ("-o out.npy --param casin=cased", "casin"),
        ("-o out.npy --encoder brt", "bert"),
    ] {
        refused(&workspace, "texts.txt", more, 2, said);
    }
}

#[test]
fn files_that_are_there_stay_unless_forced() {
    let workspace = Workspace::new();
    workspace.write("out.npy", "precious");
    refused(&workspace, "texts.txt", "-o out.npy", 2, "out.npy is there already; --force replaces it");
    // A failure on the way keeps the old file too.
    workspace.write("bad.txt", b"fever\n\xff\n");
    refused(&workspace, "bad.txt", "-o out.npy --force", 3, "bad.txt:2: byte 0xff is not UTF-8");
    assert_eq!(std::fs::read(workspace.path("out.npy")).unwrap(), b"precious");
    workspace.embed(&tiny("tiny-mlm"), "texts.txt", "-o out.npy --force").exits(0);
    assert_ne!(std::fs::read(workspace.path("out.npy")).unwrap(), b"precious");
}

#[cfg(unix)]
#[test]
fn a_stopped_command_leaves_no_file() {
    let workspace = Workspace::new();
    workspace.write("long.txt", "acute nephritis is a rare kidney disease with fever and pain\n".repeat(200_000));
    for (signal, code) in [("INT", 130), ("TERM", 75)] {
        let before = workspace.names();
        let mut child = lmprobe(&["embed", &tiny("tiny-mlm"), "long.txt", "-o", "out.parquet"])
            .current_dir(workspace.path("."))
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        // Once the unfinished file is there, the first signal asks to stop.
        while workspace.names() == before {
            assert!(child.try_wait().expect("a process").is_none(), "the program ended before it was stopped");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let killed = std::process::Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().expect("kill runs");
        assert!(killed.success());
        let mut said = String::new();
        child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("UTF-8");
        assert_eq!(child.wait().expect("the program ends").code(), Some(code), "{said}");
        assert!(said.contains("stopped on request; nothing was written"), "{said}");
        assert_eq!(workspace.names(), before);
    }
}

#[test]
fn a_reader_that_stops_early_is_no_failure() {
    let workspace = Workspace::new();
    workspace.write("long.txt", "acute nephritis\n".repeat(5_000));
    let mut child = lmprobe(&["embed", &tiny("tiny-mlm"), "long.txt", "--format", "jsonl", "--layers", "-1"])
        .current_dir(workspace.path("."))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
    assert!(line.starts_with("{\"linex_index\": 0, "), "{line}");
    let output = child.wait_with_output().expect("the program ends");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}
