//! Frames and what they hold: a big-endian length of 32 bits, then one MessagePack map.
//!
//! Never does I/O. Every bound on what a node may send is here.

use std::io::Cursor;

use serde::{Deserialize, Serialize};

use crate::messages::{Reply, Request};

/// The largest frame of either side.
pub(crate) const MAX_FRAME_BYTES: usize = 65536;
/// How deep maps and arrays may be nested: more than any message, less than any stack.
const MAX_DEPTH: usize = 16;
const LENGTH_BYTES: usize = 4;

/// The other side does not speak this protocol; the connection ends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// The frame of a request.
pub(crate) fn encode(request: &Request) -> Result<Vec<u8>, Malformed> {
    let mut frame = vec![0; LENGTH_BYTES];
    let mut serializer = rmp_serde::Serializer::new(&mut frame).with_struct_map();
    request.serialize(&mut serializer).map_err(|_| Malformed)?;
    let length = frame.len() - LENGTH_BYTES;
    if length > MAX_FRAME_BYTES {
        return Err(Malformed);
    }
    frame[..LENGTH_BYTES].copy_from_slice(&(length as u32).to_be_bytes());
    Ok(frame)
}

/// The reply in the payload of a frame, which holds nothing else.
pub(crate) fn decode(payload: &[u8]) -> Result<Reply, Malformed> {
    let mut deserializer = rmp_serde::Deserializer::new(Cursor::new(payload));
    deserializer.set_max_depth(MAX_DEPTH);
    let reply = Reply::deserialize(&mut deserializer).map_err(|_| Malformed)?;
    if deserializer.position() != payload.len() as u64 {
        return Err(Malformed);
    }
    Ok(reply)
}

/// Takes the next frame off the front of what was read: its payload, or None while it is incomplete.
pub(crate) fn next_frame(read: &mut Vec<u8>) -> Result<Option<Vec<u8>>, Malformed> {
    let Some(prefix) = read.first_chunk::<LENGTH_BYTES>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*prefix) as usize;
    if length > MAX_FRAME_BYTES {
        return Err(Malformed);
    }
    let end = LENGTH_BYTES + length;
    if read.len() < end {
        return Ok(None);
    }
    let payload = read[LENGTH_BYTES..end].to_vec();
    read.drain(..end);
    Ok(Some(payload))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Key;
    use crate::messages::SessionState;
    use crate::{DeviceId, ErrorCode, Outcome, PeerId, Stage};
    use serde_json::json;

    fn payload(value: serde_json::Value) -> Vec<u8> {
        rmp_serde::to_vec(&value).unwrap()
    }

    #[test]
    fn a_request_is_one_map_with_its_name_and_binary_keys() {
        let request = Request::ForgetDevice { id: 7, key: Key([1; 16]), device_id: DeviceId([2; 16]) };
        let mut frame = encode(&request).unwrap();
        let payload = next_frame(&mut frame).unwrap().unwrap();
        assert!(frame.is_empty());
        let mut expected = b"\x84\xa1t\xacForgetDevice\xa2id\x07\xa3key\xc4\x10".to_vec();
        expected.extend([1; 16]);
        expected.extend(b"\xa9device_id\xc4\x10");
        expected.extend([2; 16]);
        assert_eq!(payload, expected);
    }

    #[test]
    fn what_may_be_left_out_is_left_out() {
        let encoded = encode(&Request::ListSessions { id: 1, after: None }).unwrap();
        assert_eq!(&encoded[4..], b"\x82\xa1t\xacListSessions\xa2id\x01");
    }

    #[test]
    fn a_frame_comes_in_pieces_and_with_the_next() {
        let mut read = vec![0, 0, 0];
        assert_eq!(next_frame(&mut read), Ok(None));
        read.extend([2, b'a']);
        assert_eq!(next_frame(&mut read), Ok(None));
        read.extend([b'b', 0]);
        assert_eq!(next_frame(&mut read), Ok(Some(b"ab".to_vec())));
        assert_eq!(read, [0]);
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_its_frame_is_read() {
        let limit = (MAX_FRAME_BYTES as u32).to_be_bytes();
        assert_eq!(next_frame(&mut limit.to_vec()), Ok(None));
        let beyond = (MAX_FRAME_BYTES as u32 + 1).to_be_bytes();
        assert_eq!(next_frame(&mut beyond.to_vec()), Err(Malformed));
        assert_eq!(next_frame(&mut vec![255; 4]), Err(Malformed));
    }

    #[test]
    fn new_fields_and_new_names_are_no_breach() {
        let state = json!({"session": "0123456789abcdef", "role": "observer", "stage": "storing",
            "outcome": "tired", "new": [1, {"deep": null}], "seconds": 3});
        let event = payload(json!({"state": state, "id": 3, "t": "SessionEvent", "more": true}));
        let Ok(Reply::SessionEvent { id: 3, state }) = decode(&event) else {
            panic!("not an event");
        };
        assert_eq!(state.stage, Stage::Storing);
        assert_eq!(state.outcome, Some(Outcome::Unknown));
        assert_eq!(state.seconds, Some(3.0));
        let new = decode(&payload(json!({"t": "Praise", "id": 1})));
        assert!(matches!(new, Ok(Reply::Unknown)));
        let error = payload(json!({"t": "Error", "id": 1, "code": "odd", "message": ""}));
        let unknown = ErrorCode::Unknown;
        assert!(matches!(decode(&error), Ok(Reply::Error { code, .. }) if code == unknown));
    }

    #[test]
    fn what_is_no_reply_is_malformed() {
        let done = payload(json!({"t": "Done", "id": 1}));
        assert!(decode(&done).is_ok());
        let two = [done.clone(), done.clone()].concat();
        let deep = [b"\x83\xa1t\xa4Done\xa2id\x01\xa1x".to_vec(), vec![0x91; 60000], vec![0xc0]].concat();
        let bad_session = payload(json!({"t": "SessionStarted", "id": 1, "session": "0123456789ABCDEF"}));
        let huge_array = b"\x83\xa1t\xa8Sessions\xa2id\x01\xa8sessions\xdd\xff\xff\xff\xff".to_vec();
        let cut = done[..done.len() - 1].to_vec();
        let negative = payload(json!({"t": "Done", "id": -1}));
        for bytes in [vec![], vec![0xc0], vec![0xc1], two, deep, bad_session, huge_array, cut, negative] {
            assert_eq!(decode(&bytes).err(), Some(Malformed), "{bytes:02x?}");
        }
    }

    #[test]
    fn random_bytes_never_panic() {
        let mut seed: u64 = 1;
        let valid = payload(json!({"t": "Error", "id": 1, "code": "busy", "message": "later"}));
        for _ in 0..20_000 {
            let mut bytes = valid.clone();
            for _ in 0..3 {
                seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let at = (seed >> 33) as usize % bytes.len();
                bytes[at] = (seed >> 24) as u8;
            }
            let _ = decode(&bytes);
            let _ = next_frame(&mut bytes);
        }
    }

    #[test]
    fn a_code_is_not_printed() {
        let state = json!({"session": "0123456789abcdef", "role": "initiator", "stage": "waiting",
            "words": "secret words", "qr": "secret text"});
        let state: SessionState = serde_json::from_value(state).unwrap();
        assert!(!format!("{state:?}").contains("secret"));
    }

    #[test]
    fn ids_are_read_as_people_write_them() {
        let id: DeviceId = "000102030405060708090a0b0c0d0eff".parse().unwrap();
        assert_eq!(id.to_string(), "000102030405060708090a0b0c0d0eff");
        assert!("+00102030405060708090a0b0c0d0eff".parse::<DeviceId>().is_err());
        assert_eq!(PeerId(b"\0hello world".to_vec()).to_string(), "1StV1DL6CwTryKyV");
    }
}
