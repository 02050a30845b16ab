//! Bytes read as a script: a sequence of steps, each `kind, argument, length, data`.

/// What a client or the operator does.
pub enum Step<'a> {
    /// A client sends these bytes.
    Raw { client: u8, packet: &'a [u8] },
    /// A client sends a signed request with these attributes.
    Request {
        client: u8,
        method: u8,
        attributes: &'a [u8],
    },
    /// A client sends a Send indication with these attributes.
    Send { client: u8, attributes: &'a [u8] },
    /// A peer sends to one of the open ports.
    Peer { port: u8, peer: u8, len: usize },
    /// Time passes.
    Pass { seconds: u64 },
    /// A client's connection closes.
    Close { client: u8 },
    /// A peer connects to a TCP listener, or a connection to one ends.
    Tcp { act: u8, peer: u8 },
    /// The operator ends a user's sessions.
    Revoke { client: u8 },
    /// The operator denies everything, or no more than usual.
    Deny { all: bool },
    /// The operator lets no allocation in.
    Drain { draining: bool },
}

/// The rest of a script.
pub struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// An argument and as many bytes as two more say.
    pub fn packet(&mut self) -> Option<(u8, &'a [u8])> {
        let [argument, high, low, rest @ ..] = self.0 else {
            return None;
        };
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (packet, rest) = rest.split_at(len);
        self.0 = rest;
        Some((*argument, packet))
    }

    /// The next step.
    pub fn step(&mut self) -> Option<Step<'a>> {
        let [kind, argument, len, rest @ ..] = self.0 else {
            return None;
        };
        let (data, rest) = rest.split_at(usize::from(*len).min(rest.len()));
        self.0 = rest;
        let (client, argument) = (*argument & 3, *argument);
        Some(match kind % 16 {
            0 => Step::Raw {
                client,
                packet: data,
            },
            1 => Step::Send {
                client,
                attributes: data,
            },
            2 => Step::Peer {
                port: argument,
                peer: *data.first().unwrap_or(&0),
                len: data.len(),
            },
            3 => Step::Pass {
                seconds: u64::from(argument) * 10,
            },
            4 => Step::Close { client },
            5 => Step::Revoke { client },
            6 => Step::Deny {
                all: argument % 2 == 1,
            },
            7 => Step::Drain {
                draining: argument % 2 == 1,
            },
            15 => Step::Tcp {
                act: argument,
                peer: *data.first().unwrap_or(&0),
            },
            _ => Step::Request {
                client,
                method: argument >> 2,
                attributes: data,
            },
        })
    }
}
