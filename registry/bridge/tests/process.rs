//! Components in processes of their own that do what no component should. The child is this test program itself, started again.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "functions that only tests and children use; printing is what one of them is for")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lmprobe_bridge::process::{ChildCommand, ComponentFactory, RemoteInstance, RemoteLibrary, serve};
use lmprobe_bridge::{Instance, NamedTensor, Request, Response, Services, TensorValues};
use lmprobe_core::polars::df;
use lmprobe_core::polars::prelude::DataFrame;
use lmprobe_core::{Error, Result};
use serde_json::{Value, json};

/// Set in children.
const CHILD: &str = "LMPROBE_TEST_PLUGIN_CHILD";
/// Set in a program that dies with its children.
const DYING_HOST: &str = "LMPROBE_TEST_DYING_HOST";
const METRIC: u32 = 5;
const LONG: Duration = Duration::from_mins(1);

struct Acme;

impl ComponentFactory for Acme {
    fn describe(&self) -> Result<Value> {
        Ok(json!({ "name": "acme", "ratio": 0.1 }))
    }

    fn create(&self, kind: u32, id: &str, params: &Value, services: &dyn Services) -> Result<Box<dyn Instance>> {
        services.log(3, &format!("creating {id} of kind {kind}"));
        match params["create"].as_str() {
            Some("config") => Err(Error::Config("`k` is 0".to_owned())),
            Some("missing") => Err(Error::io("words.txt")(std::io::ErrorKind::NotFound.into())),
            Some("record") => services.record_input("words.txt").map(|()| -> Box<dyn Instance> { Box::new(Fake::new(params)) }),
            Some("abort") => std::process::abort(),
            _ => Ok(Box::new(Fake::new(params))),
        }
    }
}

/// Does what the first cell of the table `predictions` says.
struct Fake {
    params: Value,
    is_loaded: AtomicBool,
    n_prepared: AtomicU64,
}

impl Fake {
    fn new(params: &Value) -> Self {
        Self { params: params.clone(), is_loaded: AtomicBool::new(false), n_prepared: AtomicU64::new(0) }
    }

    fn compute(predictions: DataFrame, services: &dyn Services) -> Result<Response> {
        let action = predictions.column("action")?.str()?.get(0).unwrap_or_default().to_owned();
        match action.as_str() {
            "answer" => Ok(Response::Table(predictions)),
            "call back" => {
                services.log(2, "be careful");
                services.progress("questions", 1, 2);
                services.progress("questions", 2, 2);
                services.record_input("a.txt")?;
                let refused = services.record_input("refused").unwrap_err().to_string();
                let Response::Text(text) = services.encoder(0, Request::Token(7))? else { panic!("no text") };
                let missing = services.encoder(1, Request::Describe).unwrap_err().to_string();
                Ok(Response::Json(json!([services.seed(), services.threads(), text, refused, missing, services.is_cancelled()])))
            }
            "call back from threads" => {
                let ask = |id| match services.encoder(0, Request::Token(id)) {
                    Ok(Response::Text(text)) => text,
                    other => panic!("{other:?}"),
                };
                let texts: Vec<String> = thread::scope(|scope| {
                    let threads: Vec<_> = (0..8u32).map(|i| scope.spawn(move || (0..50).map(|j| ask(i * 100 + j)).collect::<Vec<_>>())).collect();
                    threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
                });
                Ok(Response::Json(json!(texts)))
            }
            "panic status" => Err(Error::Panic { origin: "plugin `acme`: metric `acme/fake`: compute".to_owned(), message: "index out of range".to_owned() }),
            "panic" => panic!("index {} out of range", 7),
            "segfault" => {
                eprintln!("about to use a null pointer");
                // SAFETY: none; the fault is what is tested, and only this process has it.
                unsafe { std::ptr::null_mut::<u8>().write_volatile(1) };
                Ok(Response::Nothing)
            }
            "abort" => std::process::abort(),
            "exit 0" => std::process::exit(0),
            "exit 3" => std::process::exit(3),
            "loop" => loop {
                std::hint::spin_loop();
            },
            "talk without end" => loop {
                services.log(4, "and another thing");
            },
            "slow, honours cancel" => {
                while !services.is_cancelled() {
                    thread::sleep(Duration::from_millis(1));
                }
                Err(Error::Cancelled)
            }
            "slow, ignores cancel" => loop {
                services.is_cancelled();
                thread::sleep(Duration::from_millis(1));
            },
            "slow, alive" => {
                let start = Instant::now();
                while start.elapsed() < Duration::from_secs(4) {
                    services.is_cancelled();
                    thread::sleep(Duration::from_millis(10));
                }
                Ok(Response::Nothing)
            }
            "print" => {
                println!("{}", "this goes nowhere near the protocol\n".repeat(10_000));
                let mut line = String::new();
                std::io::stdin().read_line(&mut line).map_err(Error::io("stdin"))?;
                Ok(Response::Text(line))
            }
            "overflow the stack" => Ok(Response::Text(deep(0).to_string())),
            "a million rows" => Ok(Response::Table(
                df!["row" => (0..1_000_000u64).collect::<Vec<_>>(), "text" => (0..1_000_000).map(|i| format!("text {i}")).collect::<Vec<_>>()]?,
            )),
            "allocate" => Ok(Response::Text((0..400).map(|i| vec![1u8; 1 << 20][i]).map(u64::from).sum::<u64>().to_string())),
            "write to the pipe" => {
                use std::io::Write;
                // The private descriptors are the first free ones.
                for fd in 3..20 {
                    if let Ok(mut file) = std::fs::File::options().write(true).open(format!("/proc/self/fd/{fd}")) {
                        let _ = file.write_all(b"hello, this is no packet");
                    }
                }
                Ok(Response::Nothing)
            }
            "start another program and loop" => {
                let other = Command::new("sleep").arg("1000").spawn().map_err(Error::io("sleep"))?;
                services.log(3, &other.id().to_string());
                loop {
                    thread::sleep(LONG);
                }
            }
            other => Err(Error::Unsupported(format!("action `{other}`"))),
        }
    }
}

#[expect(unconditional_recursion, reason = "the overflow is what is tested")]
fn deep(n: u64) -> u64 {
    let block = std::hint::black_box([n; 64]);
    deep(n + 1) + block[usize::try_from(n % 64).unwrap()]
}

impl Instance for Fake {
    fn call(&self, request: Request, services: &dyn Services) -> Result<Response> {
        match request {
            Request::Describe => {
                Ok(Response::Json(json!({ "pid": std::process::id(), "is_loaded": self.is_loaded.load(Ordering::SeqCst), "params": self.params })))
            }
            Request::Load => {
                self.is_loaded.store(true, Ordering::SeqCst);
                Ok(Response::Nothing)
            }
            Request::Prepare { .. } => Ok(Response::Prepared { examples: 40 + self.n_prepared.fetch_add(1, Ordering::SeqCst), report: json!({}) }),
            Request::Batch { examples, .. } => Ok(Response::Batch { inputs: df!["examples" => [examples]]?, targets: vec![] }),
            Request::Forget { .. } => Ok(Response::Nothing),
            Request::ValueAndGrad { inputs, .. } => Ok(Response::Gradient { value: f64::NAN, gradients: inputs }),
            Request::Compute { predictions } => Self::compute(predictions, services),
            other => Err(Error::Unsupported(other.function().to_owned())),
        }
    }
}

/// What a child runs; nothing when all tests are run.
#[test]
fn child_entry() {
    if std::env::var_os(CHILD).is_some() {
        serve(&Acme).unwrap();
    }
}

/// A host that is killed while its child loops.
#[test]
fn dying_host_entry() {
    if std::env::var_os(DYING_HOST).is_some() {
        let instance = create();
        eprintln!("pid={}", pid_of(&instance));
        thread::spawn(|| {
            thread::sleep(Duration::from_millis(200));
            std::process::abort();
        });
        let _ = compute(&instance, "loop");
    }
}

/// A host that takes notes.
#[derive(Default)]
struct Notes {
    notes: Mutex<Vec<String>>,
    cancel_at: Option<Instant>,
}

impl Notes {
    fn note(&self, note: String) {
        self.notes.lock().unwrap().push(note);
    }
}

impl Services for Notes {
    fn log(&self, level: u32, message: &str) {
        self.note(format!("log {level} {message}"));
    }
    fn progress(&self, phase: &str, done: u64, total: u64) {
        self.note(format!("progress {phase} {done}/{total}"));
    }
    fn is_cancelled(&self) -> bool {
        self.cancel_at.is_some_and(|at| Instant::now() >= at)
    }
    fn seed(&self) -> u64 {
        u64::MAX
    }
    fn threads(&self) -> u32 {
        3
    }
    fn record_input(&self, path: &str) -> Result<()> {
        self.note(format!("record {path}"));
        if path == "refused" { Err(Error::data(path, 3, "not allowed")) } else { Ok(()) }
    }
    fn encoder(&self, slot: u32, request: Request) -> Result<Response> {
        match (slot, request) {
            (0, Request::Token(id)) => Ok(Response::Text(format!("token {id}"))),
            (slot, request) => Err(Error::Unsupported(format!("no `{}` of slot {slot}", request.function()))),
        }
    }
}

fn library_with(silence_limit: Duration) -> RemoteLibrary {
    let command = ChildCommand::new(std::env::current_exe().unwrap()).arg("--exact").arg("child_entry").arg("--nocapture").env(CHILD, "1");
    RemoteLibrary::new(command, "acme".to_owned(), silence_limit)
}

fn create() -> RemoteInstance {
    library_with(LONG).create(METRIC, "acme/fake", &json!({ "k": 0.1 })).unwrap()
}

fn compute_with(instance: &RemoteInstance, action: &str, services: &dyn Services) -> Result<Response> {
    instance.call(Request::Compute { predictions: df!["action" => [action]].unwrap() }, services)
}

fn compute(instance: &RemoteInstance, action: &str) -> Result<Response> {
    compute_with(instance, action, &Notes::default())
}

fn description(instance: &RemoteInstance) -> Value {
    match instance.call(Request::Describe, &Notes::default()) {
        Ok(Response::Json(value)) => value,
        other => panic!("{other:?}"),
    }
}

fn pid_of(instance: &RemoteInstance) -> u64 {
    description(instance)["pid"].as_u64().unwrap()
}

/// Also not as a zombie.
fn is_gone(pid: u64) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}

fn is_gone_soon(pid: u64) -> bool {
    // Somebody else's child is waited for by somebody else, who may be slow: a zombie counts as gone.
    let has_ended = || is_gone(pid) || std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "));
    (0..200).any(|_| {
        thread::sleep(Duration::from_millis(10));
        has_ended()
    })
}

/// The action fails with the message, the child is gone, the next call works, and after the end no process is left.
#[track_caller]
fn fails_alone(silence_limit: Duration, action: &str, message: &str) {
    let instance = library_with(silence_limit).create(METRIC, "acme/fake", &json!({ "k": 0.1 })).unwrap();
    assert!(matches!(instance.call(Request::Load, &Notes::default()), Ok(Response::Nothing)));
    let pid = pid_of(&instance);
    let error = compute(&instance, action).unwrap_err().to_string();
    assert!(error.starts_with(message), "{error}");
    assert!(error.contains("`acme`") && error.contains("`acme/fake`") && error.contains("compute"), "{error}");
    assert!(is_gone(pid), "the child is left");
    let next = description(&instance);
    assert_ne!(next["pid"], pid, "another process");
    assert_eq!(next["is_loaded"], true, "the new process was loaded like the old one");
    assert_eq!(next["params"], json!({ "k": 0.1 }));
    assert!(matches!(compute(&instance, "answer"), Ok(Response::Table(_))));
    drop(instance);
    assert!(is_gone(next["pid"].as_u64().unwrap()), "the second child is left");
}

const ORIGIN: &str = "plugin `acme`: metric `acme/fake`";

#[test]
fn a_call_answers_and_the_child_ends_with_its_instance() {
    let instance = create();
    let pid = pid_of(&instance);
    let Response::Table(table) = compute(&instance, "answer").unwrap() else { panic!("no table") };
    assert!(table.equals(&df!["action" => ["answer"]].unwrap()));
    assert_eq!(pid_of(&instance), pid, "one process for all calls");
    assert!(matches!(compute(&instance, "nonsense"), Err(Error::Unsupported(message)) if message == "action `nonsense`"));
    assert_eq!(pid_of(&instance), pid, "an error is no death");
    drop(instance);
    assert!(is_gone(pid));
}

#[test]
fn the_library_describes_itself() {
    assert_eq!(library_with(LONG).describe().unwrap(), json!({ "name": "acme", "ratio": 0.1 }));
    let error = RemoteLibrary::new(ChildCommand::new("/nowhere/lmprobe"), "acme".into(), LONG).describe().unwrap_err().to_string();
    assert!(error.starts_with("plugin `acme`: its process cannot be started (No such file or directory"), "{error}");
    let error = RemoteLibrary::new(ChildCommand::new("/bin/echo").arg("hello"), "acme".into(), LONG).describe().unwrap_err().to_string();
    assert_eq!(error, "plugin `acme`: ended with exit code 0 in `describe`");
}

#[test]
fn errors_of_constructors_come_back_as_they_are() {
    let create = |what: &str| library_with(LONG).create(METRIC, "acme/fake", &json!({ "create": what })).unwrap_err();
    assert!(matches!(create("config"), Error::Config(message) if message == "`k` is 0"));
    assert!(matches!(create("missing"), Error::Io { path, source } if path == Path::new("words.txt") && source.kind() == std::io::ErrorKind::NotFound));
    assert_eq!(create("abort").to_string(), format!("{ORIGIN}: was killed by signal 6 (SIGABRT: aborted) in `create`"));
    assert!(matches!(create("record"), Error::Unsupported(_)));
    let notes = Notes::default();
    library_with(LONG).create_with(METRIC, "acme/fake", &json!({ "create": "record" }), &notes).unwrap();
    assert_eq!(*notes.notes.lock().unwrap(), ["log 3 creating acme/fake of kind 5", "record words.txt"]);
}

#[test]
fn callbacks_reach_the_host() {
    let notes = Notes::default();
    let Response::Json(value) = compute_with(&create(), "call back", &notes).unwrap() else { panic!("no JSON") };
    assert_eq!(value, json!([u64::MAX, 3, "token 7", "refused:3: not allowed", "no `describe` of slot 1", false]));
    assert_eq!(*notes.notes.lock().unwrap(), ["log 2 be careful", "progress questions 1/2", "progress questions 2/2", "record a.txt", "record refused"]);
}

#[test]
fn callbacks_of_several_threads_get_their_own_replies() {
    let Response::Json(value) = compute(&create(), "call back from threads").unwrap() else { panic!("no JSON") };
    let expected: Vec<String> = (0..8).flat_map(|i| (0..50).map(move |j| format!("token {}", i * 100 + j))).collect();
    assert_eq!(value, json!(expected));
}

#[test]
fn panics_pass_through_as_panics() {
    fails_alone(LONG, "panic status", "plugin `acme`: metric `acme/fake`: compute panicked: index out of range; this is a bug of the plugin");
    let instance = create();
    let error = compute(&instance, "panic").unwrap_err();
    assert!(matches!(&error, Error::Panic { origin, message } if origin.starts_with(ORIGIN) && message == "index 7 out of range"), "{error}");
    assert_eq!(error.to_string(), format!("{ORIGIN}: `compute` panicked: index 7 out of range; this is a bug of the plugin"));
}

#[test]
fn a_segfault_fails_one_call() {
    fails_alone(LONG, "segfault", &format!("{ORIGIN}: was killed by signal 11 (SIGSEGV) in `compute`; it last wrote: about to use a null pointer"));
}

#[test]
fn an_abort_fails_one_call() {
    fails_alone(LONG, "abort", &format!("{ORIGIN}: was killed by signal 6 (SIGABRT: aborted) in `compute`"));
}

#[test]
fn an_exit_fails_one_call() {
    fails_alone(LONG, "exit 0", &format!("{ORIGIN}: ended with exit code 0 in `compute`"));
    fails_alone(LONG, "exit 3", &format!("{ORIGIN}: ended with exit code 3 in `compute`"));
}

#[test]
fn a_stack_overflow_fails_one_call() {
    let message = format!("{ORIGIN}: was killed by signal 6 (SIGABRT: aborted) in `compute`; it last wrote: thread 'plugin'");
    fails_alone(LONG, "overflow the stack", &message);
}

#[test]
fn an_endless_loop_fails_one_call() {
    let message = format!("{ORIGIN}: gave no sign of life for 2 s in `compute` and was ended; raise `timeout` if it needs longer");
    fails_alone(Duration::from_secs(2), "loop", &message);
}

#[test]
fn a_child_that_does_not_even_read_is_ended() {
    let instance = library_with(Duration::from_secs(1)).create(METRIC, "acme/fake", &json!({})).unwrap();
    let pid = pid_of(&instance);
    assert!(Command::new("kill").arg("-STOP").arg(pid.to_string()).status().unwrap().success());
    // More than a pipe holds.
    let texts = vec!["a text"; 1_000_000];
    let error = instance.call(Request::Compute { predictions: df!["action" => texts].unwrap() }, &Notes::default()).unwrap_err().to_string();
    assert!(error.contains("gave no sign of life for 1 s in `compute`"), "{error}");
    assert!(is_gone(pid));
}

#[test]
fn bytes_that_are_no_packet_fail_one_call() {
    fails_alone(LONG, "write to the pipe", &format!("{ORIGIN}: sent its host bytes that begin no packet in `compute` and was ended"));
}

#[test]
fn who_asks_whether_to_stop_is_alive() {
    let instance = library_with(Duration::from_secs(2)).create(METRIC, "acme/fake", &json!({})).unwrap();
    assert!(matches!(compute(&instance, "slow, alive"), Ok(Response::Nothing)));
}

#[test]
fn a_request_to_stop_is_honoured_at_once() {
    let instance = create();
    let pid = pid_of(&instance);
    let start = Instant::now();
    let notes = Notes { cancel_at: Some(start + Duration::from_millis(100)), ..Notes::default() };
    assert!(matches!(compute_with(&instance, "slow, honours cancel", &notes), Err(Error::Cancelled)));
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert_eq!(pid_of(&instance), pid, "the process goes on");
    assert!(matches!(compute(&instance, "call back"), Ok(Response::Json(value)) if value[5] == false), "the next call is not asked to stop");
}

#[test]
fn who_ignores_a_request_to_stop_is_ended() {
    thread::scope(|scope| {
        for action in ["slow, ignores cancel", "talk without end", "loop"] {
            scope.spawn(move || {
                let instance = create();
                let pid = pid_of(&instance);
                let start = Instant::now();
                let notes = Notes { cancel_at: Some(start + Duration::from_millis(100)), ..Notes::default() };
                assert!(matches!(compute_with(&instance, action, &notes), Err(Error::Cancelled)), "{action}");
                let elapsed = start.elapsed();
                assert!(elapsed > Duration::from_secs(10) && elapsed < Duration::from_secs(14), "{action}: {elapsed:?}");
                assert!(is_gone(pid), "{action}");
                assert!(matches!(compute(&instance, "answer"), Ok(Response::Table(_))), "{action}");
            });
        }
    });
}

#[test]
fn what_is_printed_harms_nothing() {
    let instance = create();
    let pid = pid_of(&instance);
    assert!(matches!(compute(&instance, "print"), Ok(Response::Text(line)) if line.is_empty()), "and there is nothing to read");
    assert_eq!(pid_of(&instance), pid);
}

#[test]
fn long_tables_and_much_memory_are_fine() {
    let instance = create();
    let Response::Table(table) = compute(&instance, "a million rows").unwrap() else { panic!("no table") };
    assert_eq!(table.height(), 1_000_000);
    assert_eq!(table.column("text").unwrap().str().unwrap().get(999_999), Some("text 999999"));
    assert!(matches!(compute(&instance, "allocate"), Ok(Response::Text(text)) if text == "400"));
}

#[test]
fn prepared_examples_go_with_their_process() {
    let instance = create();
    let notes = Notes::default();
    let call = |request| instance.call(request, &notes);
    let prepare = || match call(Request::Prepare { texts: df!["text" => ["a"]].unwrap() }) {
        Ok(Response::Prepared { examples, .. }) => examples,
        other => panic!("{other:?}"),
    };
    let of_child = |examples| match call(Request::Batch { examples, chosen: vec![0] }) {
        Ok(Response::Batch { inputs, .. }) => Ok(inputs.column("examples").unwrap().u64().unwrap().get(0).unwrap()),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.to_string()),
    };
    let gone = |examples: u64| {
        Err(format!("{ORIGIN}: the prepared examples {examples} are gone: the process that held them failed in an earlier call; prepare them again"))
    };
    let (first, second) = (prepare(), prepare());
    assert_eq!((of_child(first), of_child(second)), (Ok(40), Ok(41)));
    assert!(matches!(call(Request::Forget { examples: first }), Ok(Response::Nothing)));
    assert!(of_child(first).is_err());
    assert_eq!(of_child(second), Ok(41));
    compute(&instance, "abort").unwrap_err();
    assert_eq!(of_child(second), gone(second));
    let third = prepare();
    assert_eq!(of_child(third), Ok(40), "numbers of the new process do not stand for the old ones");
    assert_eq!(of_child(second), gone(second));
    assert!(matches!(call(Request::Forget { examples: second }), Ok(Response::Nothing)));
}

#[test]
fn a_child_that_died_between_two_calls_is_replaced() {
    let instance = create();
    let pid = pid_of(&instance);
    assert!(Command::new("kill").arg("-9").arg(pid.to_string()).status().unwrap().success());
    thread::sleep(Duration::from_millis(50));
    assert!(matches!(compute(&instance, "answer"), Ok(Response::Table(_))));
    assert!(is_gone(pid));
}

#[test]
fn an_instance_outlives_the_thread_that_created_it() {
    let instance = thread::spawn(create).join().unwrap();
    thread::sleep(Duration::from_millis(100));
    let pid = pid_of(&instance);
    assert!(matches!(compute(&instance, "answer"), Ok(Response::Table(_))));
    assert_eq!(pid_of(&instance), pid);
}

#[test]
fn calls_of_several_threads_wait_for_each_other() {
    let instance = create();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..20).for_each(|_| assert!(matches!(compute(&instance, "answer"), Ok(Response::Table(_))))));
        }
    });
}

#[test]
fn what_a_plugin_started_ends_with_it() {
    let instance = library_with(Duration::from_secs(1)).create(METRIC, "acme/fake", &json!({})).unwrap();
    let notes = Notes::default();
    assert!(compute_with(&instance, "start another program and loop", &notes).unwrap_err().to_string().contains("no sign of life"));
    let other: u64 = notes.notes.lock().unwrap()[0].rsplit(' ').next().unwrap().parse().unwrap();
    assert!(is_gone_soon(other));
}

#[test]
fn children_end_with_their_host() {
    let host = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "dying_host_entry", "--nocapture"])
        .env(DYING_HOST, "1")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert!(!host.status.success(), "it was killed");
    let errors = String::from_utf8_lossy(&host.stderr).into_owned();
    let pid: u64 = errors.split_once("pid=").and_then(|(_, rest)| rest.lines().next()).and_then(|pid| pid.parse().ok()).expect(&errors);
    assert!(is_gone_soon(pid));
}

/// Prints what a call costs; run with `--ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn cost() {
    let per = |label: &str, n: u32, work: &mut dyn FnMut()| {
        let start = Instant::now();
        (0..n).for_each(|_| work());
        println!("{label}: {:?}", start.elapsed() / n);
    };
    per("start, create and end", 50, &mut || drop(create()));
    let instance = create();
    let notes = Notes::default();
    for rows in [1, 1000] {
        let texts: Vec<&str> = std::iter::once("answer").chain((1..rows).map(|_| "a prediction of some length")).collect();
        let numbers: Vec<f64> = (0..rows).map(|i| f64::from(u32::try_from(i).unwrap()) / 3.0).collect();
        let table = df!["action" => texts, "score" => numbers].unwrap();
        per(&format!("compute, {rows} rows there and back"), 1000, &mut || {
            instance.call(Request::Compute { predictions: table.clone() }, &notes).unwrap();
        });
    }
    per("describe", 1000, &mut || {
        instance.call(Request::Describe, &notes).unwrap();
    });
    let tensor = NamedTensor { name: "x".to_owned(), shape: vec![50 << 18], values: TensorValues::F32(vec![1.0; 50 << 18]) };
    per("50 MiB of tensors there and back", 20, &mut || {
        instance.call(Request::ValueAndGrad { inputs: vec![tensor.clone()], need_grad: 1 }, &notes).unwrap();
    });
    per("cloning 50 MiB, part of the above", 20, &mut || drop(std::hint::black_box(tensor.clone())));
}
