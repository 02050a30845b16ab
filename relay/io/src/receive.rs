//! What the kernel says beside a received payload.

/// The control messages that we ask for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Control {
    /// The size of the segments of a train; `None`: it is a single datagram.
    pub(crate) stride: Option<usize>,
    /// The traffic class: six bits of DSCP, two of ECN.
    pub(crate) class: u8,
    /// How many datagrams the socket has dropped in its life, modulo 2³².
    pub(crate) overflow: Option<u32>,
}

impl Control {
    /// Reads what a receive brought.
    #[inline]
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let mut control = Self::default();
        for message in control_messages(bytes) {
            match message {
                (libc::SOL_UDP, libc::UDP_GRO, data) => {
                    control.stride = int(data, 0).and_then(|size| usize::try_from(size).ok());
                }
                (libc::SOL_IP, libc::IP_TOS, data) | (libc::SOL_IPV6, libc::IPV6_TCLASS, data) => {
                    control.class = traffic_class(data);
                }
                (libc::SOL_SOCKET, libc::SO_RXQ_OVFL, data) => {
                    control.overflow = int(data, 0).map(i32::cast_unsigned);
                }
                _ => {}
            }
        }
        control
    }
}

/// Control messages as level, kind and data. Their lengths are odd, their starts are aligned
/// (`cmsg(3)`); one that runs over the end stops the reading.
#[inline]
pub(crate) fn control_messages(mut bytes: &[u8]) -> impl Iterator<Item = (i32, i32, &[u8])> {
    std::iter::from_fn(move || {
        let (header, rest) = bytes.split_at_checked(size_of::<libc::cmsghdr>())?;
        let len = word(header, 0)?;
        let data = rest.get(..len.checked_sub(header.len())?)?;
        let level = int(header, size_of::<usize>())?;
        let kind = int(header, size_of::<usize>() + 4)?;
        let next = len.next_multiple_of(size_of::<usize>());
        bytes = bytes.get(next..).unwrap_or_default();
        Some((level, kind, data))
    })
}

/// How many whole datagrams a receive carries: `(bytes to hand out, stride, datagrams cut)`.
///
/// A train that was cut loses its last segment, which is not whole. A single datagram that was cut
/// is lost.
pub(crate) fn whole(len: usize, stride: Option<usize>, truncated: bool) -> Option<(usize, usize)> {
    match stride {
        Some(stride) if stride > 0 && truncated => {
            let whole = len / stride * stride;
            (whole > 0).then_some((whole, stride))
        }
        Some(stride) if stride > 0 => Some((len, stride)),
        _ if truncated => None,
        _ => Some((len, len)),
    }
}

// IPv4 says it in one byte, IPv6 in an int.
fn traffic_class(data: &[u8]) -> u8 {
    match data {
        [class] => *class,
        _ => int(data, 0)
            .and_then(|class| u8::try_from(class & 0xff).ok())
            .unwrap_or(0),
    }
}

fn int(bytes: &[u8], at: usize) -> Option<i32> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|chunk| i32::from_ne_bytes(*chunk))
}

fn word(bytes: &[u8], at: usize) -> Option<usize> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|chunk| usize::from_ne_bytes(*chunk))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
        let mut bytes = (16 + data.len()).to_ne_bytes().to_vec();
        bytes.extend(level.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(8), 0xEE);
        bytes
    }

    #[test]
    fn all_three_messages_are_found_behind_odd_lengths() {
        let mut bytes = message(libc::SOL_IP, libc::IP_TOS, &[0b1011_1001]);
        bytes.extend(message(
            libc::SOL_SOCKET,
            libc::SO_RXQ_OVFL,
            &7_u32.to_ne_bytes(),
        ));
        bytes.extend(message(libc::SOL_SOCKET, libc::SO_TIMESTAMP, &[0; 16]));
        bytes.extend(message(
            libc::SOL_UDP,
            libc::UDP_GRO,
            &1_200_i32.to_ne_bytes(),
        ));
        let control = Control::parse(&bytes);
        assert_eq!(
            control,
            Control {
                stride: Some(1_200),
                class: 0b1011_1001,
                overflow: Some(7)
            }
        );
        let v6 = message(libc::SOL_IPV6, libc::IPV6_TCLASS, &3_i32.to_ne_bytes());
        assert_eq!(Control::parse(&v6).class, 3);
    }

    #[test]
    fn what_runs_over_the_end_is_not_read() {
        let whole = message(libc::SOL_UDP, libc::UDP_GRO, &1_200_i32.to_ne_bytes());
        for cut in 0..20 {
            assert_eq!(Control::parse(&whole[..cut]), Control::default());
        }
        assert_eq!(Control::parse(&[0; 64]), Control::default());
        assert_eq!(Control::parse(&[0xFF; 64]), Control::default());
    }

    #[test]
    fn a_cut_train_loses_its_last_segment_and_a_cut_datagram_itself() {
        assert_eq!(whole(3_500, Some(1_000), true), Some((3_000, 1_000)));
        assert_eq!(whole(3_500, Some(1_000), false), Some((3_500, 1_000)));
        assert_eq!(whole(900, Some(1_000), true), None);
        assert_eq!(whole(900, None, true), None);
        assert_eq!(whole(900, None, false), Some((900, 900)));
        assert_eq!(whole(0, None, false), Some((0, 0)));
    }
}
