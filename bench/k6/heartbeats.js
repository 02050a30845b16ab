// Nodes that say how they are: 2,000 a second under load.
//
//   sterna bench control sign --scenario heartbeats --profile load --out /tmp/requests.json
//   k6 run --env REQUESTS=/tmp/requests.json bench/k6/heartbeats.js

import { options as options_of, plan, send, summary } from './requests.js';

// Requests a second over the whole plan.
function average() {
  const seconds = plan.stages.reduce((sum, stage) => sum + stage.seconds, 0);
  return plan.stages.reduce((sum, stage) => sum + stage.seconds * stage.per_s, 0) / seconds;
}

export const options = options_of({ http_reqs: [`rate>${0.95 * average()}`], http_req_duration: ['p(99)<100'] });
export default send;
export const handleSummary = summary;
