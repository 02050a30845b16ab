// Devices in pairs over WebSockets: each sends the other a message a second and takes the time that it
// travels.
//
//   sterna bench control sign --scenario signalling --profile load --out /tmp/requests.json
//   k6 run --env REQUESTS=/tmp/requests.json bench/k6/signalling.js

import ws from 'k6/ws';
import encoding from 'k6/encoding';
import exec from 'k6/execution';
import { check } from 'k6';
import { Counter, Trend } from 'k6/metrics';
import { plan, requests, summary } from './requests.js';

const seconds = plan.stages.reduce((sum, stage) => sum + stage.seconds, 0);
const travelled = new Trend('signal_ms');
const arrived = new Counter('signals');
const lost = new Counter('signals_undelivered');

export const options = {
  scenarios: {
    [plan.scenario]: { executor: 'per-vu-iterations', vus: plan.sockets, iterations: 1, maxDuration: `${seconds + 60}s` },
  },
  summaryTrendStats: ['avg', 'p(50)', 'p(95)', 'p(99)', 'max'],
  thresholds: {
    checks: ['rate>0.999'],
    signal_ms: ['p(99)<100'],
    signals_undelivered: ['count<1'],
  },
};

// A partner may connect a little later than we do.
const PATIENCE_MS = 5000;

export default function () {
  const signed = requests[exec.scenario.iterationInTest];
  const url = plan.url.replace('http', 'ws') + signed.path;
  const answer = ws.connect(url, { headers: signed.headers }, (socket) => {
    let id = 0;
    socket.on('open', () => {
      socket.setTimeout(() => {
        socket.setInterval(() => {
          const payload = encoding.b64encode(String(Date.now()), 'rawurl');
          id += 1;
          socket.send(JSON.stringify({ type: 'signal', to: signed.to, id, payload }));
        }, 1000);
        socket.setTimeout(() => socket.close(), seconds * 1000);
      }, PATIENCE_MS);
    });
    socket.on('message', (text) => {
      const message = JSON.parse(text);
      if (message.type === 'signal') {
        travelled.add(Date.now() - Number(encoding.b64decode(message.payload, 'rawurl', 's')));
        arrived.add(1);
      } else if (message.type === 'undelivered') {
        // At the very end, partners leave one after the other.
        if (id < seconds - 1) {
          lost.add(1);
        }
      }
    });
  });
  check(answer, { 'is a WebSocket': ({ status }) => status === 101 });
}

export const handleSummary = summary;
