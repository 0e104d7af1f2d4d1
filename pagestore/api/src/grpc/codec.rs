//! The codec of all messages: that of prost, which does not make more of a message than it is
//! worth.
//!
//! A message is encoded into room for all of it: a buffer that grows copies what it has.
//!
//! An empty message in a list takes two bytes on the wire, and hundreds in memory. So lists are
//! counted before a message is decoded.

use std::any::TypeId;
use std::marker::PhantomData;

use prost::bytes::Buf as _;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use prost::{DecodeError, Message};
use tonic::Status;
use tonic::codec::{DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

use super::commits::MOST_PARTICIPANTS;
use super::proto;
use crate::PageSize;

// Numbers of fields, from the description of the service.
const PARTICIPANTS: u32 = 3;
const CHANGE: u32 = 4;
const WRITES: u32 = 1;
const DELTAS: u32 = 5;
const STAGED_WRITES: u32 = 3;
const LOADED_WRITES: u32 = 2;

/// Fewer bytes than the message of any delta has.
const LEAST_DELTA: usize = 12;

/// The codec.
#[derive(Debug, Clone)]
pub(crate) struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = RoomyEncoder<T>;
    type Decoder = CountingDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        RoomyEncoder(ProstCodec::<T, U>::default().encoder())
    }

    fn decoder(&mut self) -> Self::Decoder {
        CountingDecoder(ProstCodec::<T, U>::default().decoder())
    }
}

/// Makes room, and encodes then.
#[derive(Debug, Clone)]
pub(crate) struct RoomyEncoder<T>(ProstEncoder<T>);

impl<T: Message> Encoder for RoomyEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(message.encoded_len());
        self.0.encode(message, buffer)
    }
}

/// Counts, and decodes then.
#[derive(Debug, Clone)]
pub(crate) struct CountingDecoder<U>(ProstDecoder<U>);

impl<U: Message + Default + 'static> Decoder for CountingDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let bytes = buffer.chunk();
        if bytes.len() < buffer.remaining() {
            return Err(Status::internal("a message came in pieces"));
        }
        count(TypeId::of::<U>(), bytes).map_err(Status::invalid_argument)?;
        self.0.decode(buffer)
    }
}

/// Counts the lists of a message of a type.
fn count(message: TypeId, bytes: &[u8]) -> Result<(), String> {
    if message == TypeId::of::<proto::CommitRequest>() {
        let participants = items(bytes, &[PARTICIPANTS])?;
        if participants > MOST_PARTICIPANTS {
            return Err(format!(
                "a commit of {participants} databases, and at most {MOST_PARTICIPANTS} may be in one"
            ));
        }
        deltas(bytes)?;
        writes(bytes, &[PARTICIPANTS, CHANGE, WRITES])
    } else if message == TypeId::of::<proto::StageRequest>() {
        writes(bytes, &[STAGED_WRITES])
    } else if message == TypeId::of::<proto::LoadPagesRequest>() {
        writes(bytes, &[LOADED_WRITES])
    } else {
        Ok(())
    }
}

/// Every write has a page, which is not smaller than the smallest one.
fn writes(bytes: &[u8], path: &[u32]) -> Result<(), String> {
    let (writes, length) = (items(bytes, path)?, bytes.len());
    if writes > 1 + length / PageSize::MIN.length() {
        return Err(format!("{writes} writes in {length} bytes"));
    }
    Ok(())
}

/// Every delta has a number, a checksum, a chain, and a change.
fn deltas(bytes: &[u8]) -> Result<(), String> {
    let (deltas, length) = (items(bytes, &[PARTICIPANTS, CHANGE, DELTAS])?, bytes.len());
    if deltas > length / LEAST_DELTA {
        return Err(format!("{deltas} deltas in {length} bytes"));
    }
    Ok(())
}

/// How many items the lists have that are found by a path of field numbers.
fn items(mut bytes: &[u8], path: &[u32]) -> Result<usize, String> {
    let Some((&wanted, rest)) = path.split_first() else {
        return Ok(1);
    };
    let malformed = |error: DecodeError| format!("a malformed message: {error}");
    let mut found = 0;
    while !bytes.is_empty() {
        let (field, wire_type) = decode_key(&mut bytes).map_err(malformed)?;
        if field != wanted || wire_type != WireType::LengthDelimited {
            skip_field(wire_type, field, &mut bytes, DecodeContext::default())
                .map_err(malformed)?;
            continue;
        }
        let length = decode_varint(&mut bytes).map_err(malformed)?;
        let item = usize::try_from(length)
            .ok()
            .and_then(|length| bytes.split_at_checked(length));
        let (item, behind) = item.ok_or("a malformed message: it ends early")?;
        found += items(item, rest)?;
        bytes = behind;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use prost::bytes::Bytes;

    use super::*;

    fn counted<M: Message + 'static>(message: &M) -> Result<(), String> {
        count(TypeId::of::<M>(), &message.encode_to_vec())
    }

    fn commit(participants: usize, writes: usize, page: usize) -> proto::CommitRequest {
        let write = proto::PageWrite {
            number: 1,
            page: Bytes::from(vec![7; page]),
        };
        let change = proto::Change {
            writes: vec![write; writes],
            ..Default::default()
        };
        let participant = proto::Participant {
            change: Some(change),
            ..Default::default()
        };
        proto::CommitRequest {
            participants: vec![participant; participants],
            ..Default::default()
        }
    }

    #[test]
    fn lists_are_counted_before_they_fill_the_memory() {
        assert_eq!(counted(&commit(256, 1, 512)), Ok(()));
        assert_eq!(counted(&commit(1, 1000, 512)), Ok(()));
        assert!(
            counted(&commit(257, 1, 512))
                .unwrap_err()
                .contains("257 databases")
        );
        assert!(
            counted(&commit(1, 1000, 0))
                .unwrap_err()
                .contains("1000 writes")
        );
        assert!(
            counted(&commit(100, 10, 0))
                .unwrap_err()
                .contains("1000 writes")
        );
        let mut many = commit(1, 0, 0);
        let change = many.participants[0].change.as_mut().unwrap();
        change.deltas = vec![proto::PageDelta::default(); 1000];
        assert!(counted(&many).unwrap_err().contains("1000 deltas"));
        let writes = vec![proto::PageWrite::default(); 1000];
        let staged = proto::StageRequest {
            writes: writes.clone(),
            ..Default::default()
        };
        assert!(counted(&staged).is_err());
        let loaded = proto::LoadPagesRequest {
            writes,
            ..Default::default()
        };
        assert!(counted(&loaded).is_err());
        // The numbers of fields are those of the description.
        let whole = commit(1, 1, 512).encode_to_vec();
        let path = [PARTICIPANTS, CHANGE, WRITES];
        assert_eq!(items(&whole, &path), Ok(1));
    }

    #[test]
    fn malformed_messages_are_errors() {
        let whole = commit(2, 3, 512).encode_to_vec();
        let check = |bytes: &[u8]| count(TypeId::of::<proto::CommitRequest>(), bytes);
        for length in 1..whole.len() {
            // Cut between two participants it is a shorter commit.
            let cut = check(&whole[..length]);
            assert!(cut.is_err() || length == whole.len() / 2, "{length}");
        }
        assert!(check(&[0x1a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).is_err());
    }
}
