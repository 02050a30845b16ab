// What all scenarios share: the signed requests, the plan by which they are sent, the thresholds.
//
// REQUESTS names the file that `sterna bench control sign --scenario … --profile …` has written right
// before: signatures count for a minute. The profile (smoke, load, spike, soak) is the file's.

import http from 'k6/http';
import exec from 'k6/execution';
import { check } from 'k6';
import { SharedArray } from 'k6/data';
import { textSummary } from './summary.js';

const FILE = __ENV.REQUESTS || './requests.json';

// Parsed once for all virtual users, not once for each.
const requests = new SharedArray('requests', () => JSON.parse(open(FILE)).requests);
const plan = new SharedArray('plan', () => {
  const { url, scenario, profile, plan } = JSON.parse(open(FILE));
  return [{ url, scenario, profile, ...plan }];
})[0];

export { requests, plan };

// A rate a stage, without ramps in between. `limits` hold beside those of every scenario.
export function options(limits) {
  const stages = plan.stages.flatMap(({ seconds, per_s }) => [
    { target: per_s, duration: '0s' },
    { target: per_s, duration: `${seconds}s` },
  ]);
  const most = Math.max(...plan.stages.map(({ per_s }) => per_s));
  return {
    scenarios: {
      [plan.scenario]: {
        executor: 'ramping-arrival-rate',
        startRate: plan.stages[0].per_s,
        timeUnit: '1s',
        preAllocatedVUs: Math.min(400, Math.max(10, Math.ceil(most / 5))),
        maxVUs: 800,
        stages,
      },
    },
    summaryTrendStats: ['avg', 'p(50)', 'p(95)', 'p(99)', 'max'],
    thresholds: {
      checks: ['rate>0.999'],
      // What the load generator could not send counts against the service: it did not keep up.
      dropped_iterations: [`count<${Math.max(1, Math.ceil(requests.length / 100))}`],
      ...limits,
    },
  };
}

// Sends the next request of the plan. The last few of a stage may round beyond the end.
export function send() {
  const signed = requests[exec.scenario.iterationInTest];
  if (!signed) {
    return;
  }
  const answer = http.request(signed.method, plan.url + signed.path, signed.body || null, {
    headers: signed.headers,
    // One name for all, so that ids make no series of their own.
    tags: { name: plan.scenario },
  });
  const done = check(answer, { 'is done': ({ status }) => status >= 200 && status < 300 });
  if (!done && __ENV.SHOW) {
    console.error(`${answer.status} ${answer.body}`);
  }
}

export const summary = textSummary(plan);
