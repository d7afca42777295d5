use prost::Message;
use tulle_wire::zds::workload_response::Payload;
use tulle_wire::zds::{Ack, WorkloadResponse};

use crate::{MAX_MESSAGE, MessageError};

/// A proxy's answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The request's.
    pub number: u64,
    /// Done, or why not.
    pub outcome: Result<(), Refusal>,
}

/// Why a proxy did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub reason: RefusalReason,
    /// For people.
    pub message: String,
}

/// What a refusal comes from, for the agent to tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalReason {
    /// Something else than the certificate.
    Other,
    /// There is no certificate for the pod yet.
    NoCertificate,
    /// The authority has refused the pod's identity: waiting changes nothing.
    IdentityRefused,
}

impl From<String> for Refusal {
    fn from(message: String) -> Self {
        Self {
            reason: RefusalReason::Other,
            message,
        }
    }
}

impl From<MessageError> for Refusal {
    fn from(error: MessageError) -> Self {
        error.to_string().into()
    }
}

impl Answer {
    pub fn encode(self) -> Vec<u8> {
        let ack = match self.outcome {
            Ok(()) => Ack::default(),
            Err(refusal) => Ack {
                error: shortened(refusal.message),
                no_certificate: refusal.reason != RefusalReason::Other,
                definite: refusal.reason == RefusalReason::IdentityRefused,
            },
        };
        WorkloadResponse {
            payload: Some(Payload::Ack(ack)),
            number: self.number,
        }
        .encode_to_vec()
    }

    /// # Errors
    /// When it is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let WorkloadResponse { payload, number } = WorkloadResponse::decode(bytes)?;
        let Some(Payload::Ack(ack)) = payload else {
            return Err(MessageError::NotAnAck);
        };
        let outcome = if ack.error.is_empty() {
            Ok(())
        } else {
            Err(Refusal {
                reason: reason(&ack),
                message: ack.error,
            })
        };
        Ok(Self { number, outcome })
    }
}

fn reason(ack: &Ack) -> RefusalReason {
    if ack.definite {
        RefusalReason::IdentityRefused
    } else if ack.no_certificate {
        RefusalReason::NoCertificate
    } else {
        RefusalReason::Other
    }
}

/// Within what fits into a message beside the rest.
fn shortened(mut message: String) -> String {
    let end = message.floor_char_boundary(MAX_MESSAGE - 64);
    message.truncate(end);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(number: u64, outcome: Result<(), Refusal>) -> Answer {
        Answer { number, outcome }
    }

    #[test]
    fn answers_are_understood_with_their_reason() {
        use RefusalReason::{IdentityRefused, NoCertificate, Other};
        assert_eq!(
            Answer::decode(&answer(7, Ok(())).encode()),
            Ok(answer(7, Ok(())))
        );
        for reason in [Other, NoCertificate, IdentityRefused] {
            let message = "the pod's port is taken".to_owned();
            let refused = answer(0, Err(Refusal { reason, message }));
            assert_eq!(Answer::decode(&refused.clone().encode()), Ok(refused));
        }
        assert_eq!(Answer::decode(&[]), Err(MessageError::NotAnAck));
    }

    #[test]
    fn errors_fit_the_agents_buffer() {
        let refusal = Refusal {
            reason: RefusalReason::IdentityRefused,
            message: "ä".repeat(5000),
        };
        let long = answer(u64::MAX, Err(refusal)).encode();
        assert!(long.len() <= MAX_MESSAGE);
        let outcome = Answer::decode(&long).unwrap().outcome;
        assert_eq!(outcome.unwrap_err().message, "ä".repeat(480));
    }
}
