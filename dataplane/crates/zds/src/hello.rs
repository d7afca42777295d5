use prost::Message;
use tulle_wire::zds::{Version, ZdsHello};

use crate::MessageError;

/// A proxy's first message: what it does that is not in version 1 of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// It accepts on listeners that come beside a pod's network namespace; another listens in the pod itself.
    pub takes_listeners: bool,
    /// It works on several requests at once, by their numbers.
    pub answers_in_any_order: bool,
}

impl Hello {
    pub fn encode(self) -> Vec<u8> {
        ZdsHello {
            version: Version::V1.into(),
            takes_listeners: self.takes_listeners,
            answers_in_any_order: self.answers_in_any_order,
        }
        .encode_to_vec()
    }

    /// # Errors
    /// When it is none, or one of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let hello = ZdsHello::decode(bytes)?;
        if hello.version != i32::from(Version::V1) {
            return Err(MessageError::Version(hello.version));
        }
        Ok(Self {
            takes_listeners: hello.takes_listeners,
            answers_in_any_order: hello.answers_in_any_order,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Hello = Hello {
        takes_listeners: true,
        answers_in_any_order: true,
    };

    #[test]
    fn r31_the_hello_says_that_listeners_are_taken_where_older_agents_do_not_look() {
        // Field 1: version 1. Field 1000: true; 1001, too.
        let encoded = [0x08, 0x01, 0xc0, 0x3e, 0x01, 0xc8, 0x3e, 0x01];
        assert_eq!(OURS.encode(), encoded);
        assert_eq!(Hello::decode(&encoded), Ok(OURS));
    }

    #[test]
    fn a_proxy_of_version_1_alone_takes_no_listeners_and_answers_in_order() {
        let plain = Hello {
            takes_listeners: false,
            answers_in_any_order: false,
        };
        assert_eq!(Hello::decode(&[0x08, 0x01]), Ok(plain));
        assert_eq!(Hello::decode(&[]), Err(MessageError::Version(0)));
        assert_eq!(Hello::decode(&[0x08, 0x02]), Err(MessageError::Version(2)));
    }
}
