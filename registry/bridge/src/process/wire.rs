//! What a program and its child say to each other, as packets.

use std::io::{Error, Result};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::blobs::{Incoming, Outgoing, TensorHead};
use super::failure::Failure;
use super::packet::{Packet, malformed};
use crate::{Request, Response, Sequences, Texts};

/// What the child writes before its first packet. What stands before it (a loader's banner, a test harness) is skipped.
pub(super) const GREETING: &[u8] = b"\0lmprobe plugin process 1\n";

/// What was asked for, or why not.
pub(super) type Outcome = std::result::Result<Response, Failure>;

/// From the program to its child.
#[derive(Debug)]
pub(super) enum ToChild {
    /// What the library is. Answered by [`Response::Json`].
    Describe,
    /// Make the instance. Answered by [`Response::Nothing`].
    Create { kind: u32, id: String, params: Value, limits: Limits },
    /// Ask the instance.
    Call { request: Request, limits: Limits },
    /// The call should end soon.
    Cancel,
    /// To [`ToHost::RecordInput`] and [`ToHost::Encoder`].
    Reply(Outcome),
}

/// What a call may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Limits {
    pub(super) seed: u64,
    pub(super) threads: u32,
}

/// From the child to the program.
#[derive(Debug)]
pub(super) enum ToHost {
    /// The plugin asks now and then whether to stop: it is not stuck.
    Alive,
    Log {
        level: u32,
        message: String,
    },
    Progress {
        phase: String,
        done: u64,
        total: u64,
    },
    /// Answered by a reply.
    RecordInput(String),
    /// Answered by a reply.
    Encoder {
        slot: u32,
        request: Request,
    },
    /// To [`ToChild::Describe`], [`ToChild::Create`] and [`ToChild::Call`].
    Answer(Outcome),
}

#[derive(Serialize, Deserialize)]
enum ToChildHead {
    Describe,
    Create { kind: u32, id: String, params: Value, limits: Limits },
    Call { request: RequestHead, limits: Limits },
    Cancel,
    Reply(std::result::Result<ResponseHead, Failure>),
}

#[derive(Serialize, Deserialize)]
enum ToHostHead {
    Alive,
    Log { level: u32, message: String },
    Progress { phase: String, done: u64, total: u64 },
    RecordInput(String),
    Encoder { slot: u32, request: RequestHead },
    Answer(std::result::Result<ResponseHead, Failure>),
}

#[derive(Serialize, Deserialize)]
enum RequestHead {
    Describe,
    Load,
    Tokenize { max_length: u32, flags: u32 },
    Encode { want: u64, some_rows: bool },
    Token(u32),
    Probe,
    Prepare,
    Batch { examples: u64 },
    Forget { examples: u64 },
    ValueAndGrad { inputs: Vec<TensorHead>, need_grad: u64 },
    Examples,
    Compute,
}

#[derive(Serialize, Deserialize)]
enum ResponseHead {
    Nothing,
    Json(Value),
    Text(String),
    Table,
    Tables,
    Tensors(Vec<TensorHead>),
    Prepared { examples: u64, report: Value },
    Batch { targets: Vec<TensorHead> },
    Gradient { gradients: Vec<TensorHead> },
}

impl ToChild {
    pub(super) fn pack(self) -> Result<Packet> {
        let mut blobs = Outgoing::default();
        let head = match self {
            Self::Describe => ToChildHead::Describe,
            Self::Create { kind, id, params, limits } => ToChildHead::Create { kind, id, params: blobs.json(params), limits },
            Self::Call { request, limits } => ToChildHead::Call { request: pack_request(request, &mut blobs)?, limits },
            Self::Cancel => ToChildHead::Cancel,
            Self::Reply(outcome) => ToChildHead::Reply(pack_outcome(outcome, &mut blobs)?),
        };
        packet(&head, blobs)
    }

    pub(super) fn unpack(packet: Packet) -> Result<Self> {
        let mut blobs = Incoming::new(packet.blobs);
        let message = match parse(&packet.head)? {
            ToChildHead::Describe => Self::Describe,
            ToChildHead::Create { kind, id, params, limits } => Self::Create { kind, id, params: blobs.json(params)?, limits },
            ToChildHead::Call { request, limits } => Self::Call { request: unpack_request(request, &mut blobs)?, limits },
            ToChildHead::Cancel => Self::Cancel,
            ToChildHead::Reply(outcome) => Self::Reply(unpack_outcome(outcome, &mut blobs)?),
        };
        blobs.finish()?;
        Ok(message)
    }
}

impl ToHost {
    pub(super) fn pack(self) -> Result<Packet> {
        let mut blobs = Outgoing::default();
        let head = match self {
            Self::Alive => ToHostHead::Alive,
            Self::Log { level, message } => ToHostHead::Log { level, message },
            Self::Progress { phase, done, total } => ToHostHead::Progress { phase, done, total },
            Self::RecordInput(path) => ToHostHead::RecordInput(path),
            Self::Encoder { slot, request } => ToHostHead::Encoder { slot, request: pack_request(request, &mut blobs)? },
            Self::Answer(outcome) => ToHostHead::Answer(pack_outcome(outcome, &mut blobs)?),
        };
        packet(&head, blobs)
    }

    pub(super) fn unpack(packet: Packet) -> Result<Self> {
        let mut blobs = Incoming::new(packet.blobs);
        let message = match parse(&packet.head)? {
            ToHostHead::Alive => Self::Alive,
            ToHostHead::Log { level, message } => Self::Log { level, message },
            ToHostHead::Progress { phase, done, total } => Self::Progress { phase, done, total },
            ToHostHead::RecordInput(path) => Self::RecordInput(path),
            ToHostHead::Encoder { slot, request } => Self::Encoder { slot, request: unpack_request(request, &mut blobs)? },
            ToHostHead::Answer(outcome) => Self::Answer(unpack_outcome(outcome, &mut blobs)?),
        };
        blobs.finish()?;
        Ok(message)
    }
}

fn packet(head: &impl Serialize, blobs: Outgoing) -> Result<Packet> {
    let packet = Packet { head: serde_json::to_vec(head).map_err(Error::other)?, blobs: blobs.0 };
    packet.check()?;
    Ok(packet)
}

fn parse<T: DeserializeOwned>(head: &[u8]) -> Result<T> {
    serde_json::from_slice(head).map_err(|error| malformed(format!("a head that says nothing known ({error})")))
}

fn pack_request(request: Request, blobs: &mut Outgoing) -> Result<RequestHead> {
    Ok(match request {
        Request::Describe => RequestHead::Describe,
        Request::Load => RequestHead::Load,
        Request::Tokenize(Texts { texts, pairs, max_length, flags }) => {
            blobs.texts(&texts);
            blobs.texts(&pairs);
            RequestHead::Tokenize { max_length, flags }
        }
        Request::Encode(Sequences { offsets, ids, type_ids, want, layers, rows }) => {
            blobs.u64s(&offsets);
            blobs.u32s(&ids);
            blobs.u32s(&type_ids);
            blobs.u32s(&layers);
            let some_rows = rows.is_some();
            if let Some(rows) = rows {
                blobs.u64s(&rows);
            }
            RequestHead::Encode { want, some_rows }
        }
        Request::Token(id) => RequestHead::Token(id),
        Request::Probe { examples, candidates } => {
            blobs.table(examples)?;
            blobs.table(candidates)?;
            RequestHead::Probe
        }
        Request::Prepare { texts } => {
            blobs.table(texts)?;
            RequestHead::Prepare
        }
        Request::Batch { examples, chosen } => {
            blobs.u64s(&chosen);
            RequestHead::Batch { examples }
        }
        Request::Forget { examples } => RequestHead::Forget { examples },
        Request::ValueAndGrad { inputs, need_grad } => RequestHead::ValueAndGrad { inputs: blobs.tensors(inputs), need_grad },
        Request::Examples => RequestHead::Examples,
        Request::Compute { predictions } => {
            blobs.table(predictions)?;
            RequestHead::Compute
        }
    })
}

fn unpack_request(head: RequestHead, blobs: &mut Incoming) -> Result<Request> {
    Ok(match head {
        RequestHead::Describe => Request::Describe,
        RequestHead::Load => Request::Load,
        RequestHead::Tokenize { max_length, flags } => Request::Tokenize(Texts { texts: blobs.texts()?, pairs: blobs.texts()?, max_length, flags }),
        RequestHead::Encode { want, some_rows } => Request::Encode(Sequences {
            offsets: blobs.u64s()?,
            ids: blobs.u32s()?,
            type_ids: blobs.u32s()?,
            want,
            layers: blobs.u32s()?,
            rows: if some_rows { Some(blobs.u64s()?) } else { None },
        }),
        RequestHead::Token(id) => Request::Token(id),
        RequestHead::Probe => Request::Probe { examples: blobs.table()?, candidates: blobs.table()? },
        RequestHead::Prepare => Request::Prepare { texts: blobs.table()? },
        RequestHead::Batch { examples } => Request::Batch { examples, chosen: blobs.u64s()? },
        RequestHead::Forget { examples } => Request::Forget { examples },
        RequestHead::ValueAndGrad { inputs, need_grad } => Request::ValueAndGrad { inputs: blobs.tensors(inputs)?, need_grad },
        RequestHead::Examples => Request::Examples,
        RequestHead::Compute => Request::Compute { predictions: blobs.table()? },
    })
}

fn pack_outcome(outcome: Outcome, blobs: &mut Outgoing) -> Result<std::result::Result<ResponseHead, Failure>> {
    let response = match outcome {
        Ok(response) => response,
        Err(failure) => return Ok(Err(failure)),
    };
    Ok(Ok(match response {
        Response::Nothing => ResponseHead::Nothing,
        Response::Json(value) => ResponseHead::Json(blobs.json(value)),
        Response::Text(text) => ResponseHead::Text(text),
        Response::Table(table) => {
            blobs.table(table)?;
            ResponseHead::Table
        }
        Response::Tables(examples, candidates) => {
            blobs.table(examples)?;
            blobs.table(candidates)?;
            ResponseHead::Tables
        }
        Response::Tensors(tensors) => ResponseHead::Tensors(blobs.tensors(tensors)),
        Response::Prepared { examples, report } => ResponseHead::Prepared { examples, report: blobs.json(report) },
        Response::Batch { inputs, targets } => {
            blobs.table(inputs)?;
            ResponseHead::Batch { targets: blobs.tensors(targets) }
        }
        Response::Gradient { value, gradients } => {
            // As bytes: JSON has no NaN.
            blobs.f64s(&[value]);
            ResponseHead::Gradient { gradients: blobs.tensors(gradients) }
        }
    }))
}

fn unpack_outcome(outcome: std::result::Result<ResponseHead, Failure>, blobs: &mut Incoming) -> Result<Outcome> {
    let head = match outcome {
        Ok(head) => head,
        Err(failure) => return Ok(Err(failure)),
    };
    Ok(Ok(match head {
        ResponseHead::Nothing => Response::Nothing,
        ResponseHead::Json(value) => Response::Json(blobs.json(value)?),
        ResponseHead::Text(text) => Response::Text(text),
        ResponseHead::Table => Response::Table(blobs.table()?),
        ResponseHead::Tables => Response::Tables(blobs.table()?, blobs.table()?),
        ResponseHead::Tensors(tensors) => Response::Tensors(blobs.tensors(tensors)?),
        ResponseHead::Prepared { examples, report } => Response::Prepared { examples, report: blobs.json(report)? },
        ResponseHead::Batch { targets } => Response::Batch { inputs: blobs.table()?, targets: blobs.tensors(targets)? },
        ResponseHead::Gradient { gradients } => {
            let [value] = blobs.f64s()?[..] else { return Err(malformed("a loss that is not one number")) };
            Response::Gradient { value, gradients: blobs.tensors(gradients)? }
        }
    }))
}

#[cfg(test)]
mod tests {
    use lmprobe_core::polars::df;
    use lmprobe_core::polars::prelude::{Column, DataFrame, DataType, NamedFrom, Series};
    use serde_json::json;

    use super::*;
    use crate::{NamedTensor, TensorValues};

    fn table() -> DataFrame {
        let lists = |name: &str, lists: [Option<Series>; 3]| Column::from(Series::new(name.into(), lists));
        let mut table = df![
            "text" => [Some("a"), None, Some("longer than twelve bytes: ü")],
            "u64" => [Some(u64::MAX), Some(0), None],
            "i64" => [i64::MIN, 0, i64::MAX],
            "u32" => [u32::MAX, 0, 1],
            "f32" => [f32::MIN_POSITIVE, -0.0, f32::INFINITY],
            "f64" => [Some(0.1), Some(-1e300), None],
            "flag" => [Some(true), None, Some(false)],
        ]
        .unwrap();
        table.with_column(lists("texts", [Some(Series::new("".into(), ["x", ""])), None, Some(Series::new_empty("".into(), &DataType::String))])).unwrap();
        table.with_column(lists("reals", [Some(Series::new("".into(), [1.5, -2.5])), Some(Series::new_empty("".into(), &DataType::Float64)), None])).unwrap();
        table
    }

    /// Every kind of table that could lose something.
    fn tables() -> Vec<DataFrame> {
        let several_chunks = table().vstack(&table()).unwrap();
        vec![table(), table().clear(), table().slice(1, 1), several_chunks, DataFrame::empty()]
    }

    fn tensors() -> Vec<NamedTensor> {
        let tensor = |name: &str, shape: &[usize], values| NamedTensor { name: name.to_owned(), shape: shape.to_vec(), values };
        vec![
            tensor("f32", &[2, 2], TensorValues::F32(vec![0.1, -0.0, f32::INFINITY, f32::MIN_POSITIVE])),
            tensor("i64", &[3], TensorValues::I64(vec![i64::MIN, -1, i64::MAX])),
            tensor("u32", &[1, 2, 1], TensorValues::U32(vec![0, u32::MAX])),
            tensor("u8", &[2], TensorValues::U8(vec![0, 255])),
            tensor("", &[], TensorValues::F32(vec![7.0])),
            tensor("empty", &[2, 0, 3], TensorValues::I64(vec![])),
        ]
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn requests() -> Vec<Request> {
        let sequences = Sequences { offsets: vec![0, 2, u64::MAX], ids: vec![1, u32::MAX], type_ids: vec![0, 1], want: u64::MAX, layers: vec![3], rows: None };
        let mut requests = vec![
            Request::Describe,
            Request::Load,
            Request::Tokenize(Texts { texts: texts(&["", "a\0b\"", "ü\u{1f600}"]), pairs: texts(&["x", "", ""]), max_length: 7, flags: 3 }),
            Request::Tokenize(Texts::default()),
            Request::Encode(Sequences::default()),
            Request::Encode(sequences.clone()),
            Request::Encode(Sequences { rows: Some(vec![]), ..sequences.clone() }),
            Request::Encode(Sequences { rows: Some(vec![0, u64::MAX]), ..sequences }),
            Request::Token(u32::MAX),
            Request::Batch { examples: u64::MAX, chosen: vec![1, 2] },
            Request::Forget { examples: 3 },
            Request::ValueAndGrad { inputs: tensors(), need_grad: u64::MAX },
            Request::ValueAndGrad { inputs: vec![], need_grad: 0 },
            Request::Examples,
        ];
        for table in tables() {
            requests.push(Request::Probe { examples: table.clone(), candidates: table.clear() });
            requests.push(Request::Prepare { texts: table.clone() });
            requests.push(Request::Compute { predictions: table });
        }
        requests
    }

    fn responses() -> Vec<Response> {
        let report = json!({ "examples": u64::MAX, "notes": ["a", null, 0.1, -0.0, 1.0], "z": {}, "a": true });
        let mut responses = vec![
            Response::Nothing,
            Response::Json(report.clone()),
            Response::Json(json!(null)),
            Response::Text("a\0\"ü".to_owned()),
            Response::Tensors(tensors()),
            Response::Tensors(vec![]),
            Response::Prepared { examples: u64::MAX, report },
            Response::Gradient { value: f64::NEG_INFINITY, gradients: tensors() },
            Response::Gradient { value: 0.1, gradients: vec![] },
        ];
        for table in tables() {
            responses.push(Response::Table(table.clone()));
            responses.push(Response::Tables(table.clear(), table.clone()));
            responses.push(Response::Batch { inputs: table, targets: tensors() });
        }
        responses
    }

    /// Through bytes, as over a pipe.
    fn sent(packet: &Packet) -> Packet {
        let mut bytes = Vec::new();
        packet.write(&mut bytes).unwrap();
        Packet::read(&mut bytes.as_slice()).unwrap().unwrap()
    }

    fn to_child_and_back(message: ToChild) -> ToChild {
        ToChild::unpack(sent(&message.pack().unwrap())).unwrap()
    }

    fn to_host_and_back(message: ToHost) -> ToHost {
        ToHost::unpack(sent(&message.pack().unwrap())).unwrap()
    }

    /// The debug form of a table shows neither every row nor the bits of floats; its own comparison does.
    fn assert_same_tables(found: &[&DataFrame], expected: &[&DataFrame]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert_eq!(found.schema(), expected.schema());
            assert_eq!(found.height(), expected.height());
            assert!(found.equals_missing(expected), "{found} is not {expected}");
        }
    }

    fn tables_of_request(request: &Request) -> Vec<&DataFrame> {
        match request {
            Request::Probe { examples, candidates } => vec![examples, candidates],
            Request::Prepare { texts: table } | Request::Compute { predictions: table } => vec![table],
            _ => vec![],
        }
    }

    fn tables_of_response(response: &Response) -> Vec<&DataFrame> {
        match response {
            Response::Table(table) | Response::Batch { inputs: table, .. } => vec![table],
            Response::Tables(examples, candidates) => vec![examples, candidates],
            _ => vec![],
        }
    }

    #[test]
    fn every_request_comes_back_from_both_ends() {
        let limits = Limits { seed: u64::MAX, threads: 3 };
        for request in requests() {
            let ToChild::Call { request: found, limits: found_limits } = to_child_and_back(ToChild::Call { request: request.clone(), limits }) else {
                panic!("another message")
            };
            assert_eq!(found_limits, limits);
            assert_eq!(format!("{found:?}"), format!("{request:?}"));
            assert_same_tables(&tables_of_request(&found), &tables_of_request(&request));
            let ToHost::Encoder { slot: 7, request: found } = to_host_and_back(ToHost::Encoder { slot: 7, request: request.clone() }) else {
                panic!("another message")
            };
            assert_eq!(format!("{found:?}"), format!("{request:?}"));
            assert_same_tables(&tables_of_request(&found), &tables_of_request(&request));
        }
    }

    #[test]
    fn every_response_comes_back_from_both_ends() {
        for response in responses() {
            let ToHost::Answer(Ok(found)) = to_host_and_back(ToHost::Answer(Ok(response.clone()))) else { panic!("another message") };
            assert_eq!(format!("{found:?}"), format!("{response:?}"));
            assert_same_tables(&tables_of_response(&found), &tables_of_response(&response));
            let ToChild::Reply(Ok(found)) = to_child_and_back(ToChild::Reply(Ok(response.clone()))) else { panic!("another message") };
            assert_eq!(format!("{found:?}"), format!("{response:?}"));
            assert_same_tables(&tables_of_response(&found), &tables_of_response(&response));
        }
    }

    #[test]
    fn nan_keeps_its_bits() {
        let odd = f64::from_bits(0x7ff8_0000_dead_beef);
        let odd_f32 = f32::from_bits(0x7fc0_beef);
        let gradients = vec![NamedTensor { name: "x".into(), shape: vec![1], values: TensorValues::F32(vec![odd_f32]) }];
        let ToHost::Answer(Ok(Response::Gradient { value, gradients })) = to_host_and_back(ToHost::Answer(Ok(Response::Gradient { value: odd, gradients })))
        else {
            panic!("another message")
        };
        assert_eq!(value.to_bits(), odd.to_bits());
        let TensorValues::F32(values) = &gradients[0].values else { panic!("another type") };
        assert_eq!(values[0].to_bits(), odd_f32.to_bits());
        let ToHost::Answer(Ok(Response::Table(table))) = to_host_and_back(ToHost::Answer(Ok(Response::Table(df!["x" => [odd]].unwrap())))) else {
            panic!("another message")
        };
        assert_eq!(table.column("x").unwrap().f64().unwrap().get(0).unwrap().to_bits(), odd.to_bits());
    }

    #[test]
    fn the_other_messages_come_back() {
        let limits = Limits { seed: 0, threads: 1 };
        let failure = || Failure::from(lmprobe_core::Error::Cancelled);
        let to_child = || {
            let params = json!({ "k": 0.1, "b": [1, u64::MAX] });
            vec![ToChild::Describe, ToChild::Create { kind: 5, id: "a/b".into(), params, limits }, ToChild::Cancel, ToChild::Reply(Err(failure()))]
        };
        for (message, same) in to_child().into_iter().zip(to_child()) {
            assert_eq!(format!("{:?}", to_child_and_back(message)), format!("{same:?}"));
        }
        let to_host = || {
            let progress = ToHost::Progress { phase: "ü".into(), done: 1, total: u64::MAX };
            vec![ToHost::Alive, ToHost::Log { level: 2, message: "a\nb".into() }, progress, ToHost::RecordInput("a".into()), ToHost::Answer(Err(failure()))]
        };
        for (message, same) in to_host().into_iter().zip(to_host()) {
            assert_eq!(format!("{:?}", to_host_and_back(message)), format!("{same:?}"));
        }
    }

    #[test]
    fn foreign_heads_and_blobs_are_errors() {
        let error = |head: &str, blobs: Vec<Vec<u8>>| ToHost::unpack(Packet { head: head.as_bytes().to_vec(), blobs }).unwrap_err().to_string();
        for head in ["", "null", "{}", "\"Nonsense\"", "{\"Answer\":{\"Ok\":\"What\"}}", "[[[[", "\u{1}", "{\"Log\":{\"level\":-1,\"message\":\"\"}}"] {
            assert!(error(head, vec![]).starts_with("a head that says nothing known"), "{head}");
        }
        assert!(error(&"[".repeat(1 << 20), vec![]).starts_with("a head that says nothing known"), "deep nesting must not exhaust the stack");
        assert_eq!(error("\"Alive\"", vec![vec![]]), "more blobs than the head speaks of");
        assert_eq!(error("{\"Answer\":{\"Ok\":\"Table\"}}", vec![]), "fewer blobs than the head speaks of");
        assert_eq!(error("{\"Answer\":{\"Ok\":{\"Gradient\":{\"gradients\":[]}}}}", vec![vec![0; 16]]), "a loss that is not one number");
    }
}
