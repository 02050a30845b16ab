//! How frames, letters and payloads of the world arrive, and what follows.

use super::{Flight, WORKERS, World};
use crate::device::Received;
use crate::{Link, StreamId, Verdict};

/// `udp_payload_max` of a world without the program that steers datagrams.
pub(crate) const NO_STEERING: u16 = 8000;

impl World {
    /// Lets one frame arrive.
    pub(crate) fn arrive(&mut self, flight: Flight) {
        match flight {
            Flight::Up {
                device,
                link,
                shard,
                frame,
            } => {
                if let Link::Udp { addr, .. } = link {
                    self.log.push((addr, true, frame.clone()));
                    if frame.len() > self.devices[device].path_bytes {
                        return;
                    }
                }
                let shard = self.steer(link, &frame, shard);
                self.packet(shard, link, &frame);
            }
            Flight::Passed { shard, link, frame } => {
                self.packet(shard, link, &frame);
            }
            Flight::Across {
                shard,
                target,
                payload,
            } => {
                let verdict = self.relays[shard].handle_relayed(self.now, target, payload.len());
                self.route(shard, verdict, Link::Stream(StreamId(u32::MAX)), &payload);
            }
            Flight::Letter { shard, letter } => {
                self.relays[shard].handle_letter(self.now, letter);
                self.obey(shard);
            }
            Flight::Down { link, shard, frame } => self.down(link, shard, &frame),
        }
    }

    /// What the program that steers datagrams does; tests without it set `shard` wrongly.
    fn steer(&self, link: Link, frame: &[u8], hashed: usize) -> usize {
        let is_steered = matches!(link, Link::Udp { .. })
            && matches!(frame.first(), Some(0x80..=0xAF))
            && frame.len() > 1
            && self.steering();
        if !is_steered {
            return hashed;
        }
        let shard = self.config.layout.shard_of_byte(frame[1]).0;
        if shard < WORKERS {
            shard.into()
        } else {
            hashed
        }
    }

    fn steering(&self) -> bool {
        self.config.udp_payload_max != NO_STEERING
    }

    pub(crate) fn packet(&mut self, shard: usize, link: Link, frame: &[u8]) -> Verdict {
        let verdict = self.relays[shard].handle_packet(self.now, link, frame);
        self.route(shard, verdict.clone(), link, frame);
        verdict
    }

    fn route(&mut self, shard: usize, verdict: Verdict, link: Link, frame: &[u8]) {
        match verdict {
            Verdict::ToUdp {
                listener,
                to,
                head,
                payload,
            } => {
                assert!(
                    shard < usize::from(WORKERS),
                    "only workers have UDP sockets"
                );
                let frame = [head.bytes(), &frame[payload]].concat();
                let link = Link::Udp { listener, addr: to };
                self.air.push_back(Flight::Down { link, shard, frame });
            }
            Verdict::ToStream {
                stream,
                flow,
                head,
                payload,
            } => {
                assert!(
                    shard >= usize::from(WORKERS),
                    "only stream shards have connections"
                );
                let now = self.now;
                let bytes = frame[payload].to_vec();
                let queue = self
                    .queues
                    .iter_mut()
                    .find(|(id, on, _)| (*id, *on) == (stream, shard));
                let (_, _, queue) = queue.expect("a connection has a queue");
                queue.push(now, flow, head, bytes);
                while let Some((head, payload)) = queue.pop(now) {
                    let frame = [head.bytes(), &payload].concat();
                    let link = Link::Stream(stream);
                    self.air.push_back(Flight::Down { link, shard, frame });
                }
            }
            Verdict::ToShard {
                shard,
                target,
                payload,
            } => {
                let payload = frame[payload].to_vec();
                self.air.push_back(Flight::Across {
                    shard: shard.0.into(),
                    target,
                    payload,
                });
            }
            Verdict::PassOn { shard } => {
                let frame = frame.to_vec();
                self.air.push_back(Flight::Passed {
                    shard: shard.0.into(),
                    link,
                    frame,
                });
            }
            Verdict::Handled | Verdict::Drop(_) => {}
        }
        self.obey(shard);
    }

    fn down(&mut self, link: Link, shard: usize, frame: &[u8]) {
        if let Link::Udp { addr, .. } = link {
            self.log.push((addr, false, frame.to_vec()));
        }
        let at = self.devices.iter().position(|device| {
            let is_stream = matches!(link, Link::Stream(_));
            device.link == link && (!is_stream || device.shard == shard)
        });
        let Some(index) = at else { return };
        let device = &mut self.devices[index];
        if matches!(link, Link::Udp { .. }) && frame.len() > device.path_bytes {
            return;
        }
        match device.session.handle_packet(self.now, frame) {
            Received::Data { peer, payload, .. } => {
                device.got.push((peer, frame[payload].to_vec()));
            }
            Received::Whole { peer, message, .. } => device.got.push((peer, message)),
            Received::Handled => {}
            Received::Drop(reason) => device.drops.push(reason),
        }
        self.collect(index);
    }
}
