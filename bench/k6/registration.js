// Nodes that register for the first time, each with a key of its own and one join token.
//
//   sterna bench control sign --scenario registration --profile load --out /tmp/requests.json
//   k6 run --env REQUESTS=/tmp/requests.json bench/k6/registration.js

import { options as options_of, send, summary } from './requests.js';

export const options = options_of({ http_req_duration: ['p(99)<20'] });
export default send;
export const handleSummary = summary;
