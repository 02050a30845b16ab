// Devices that enrol, each with a key of its own and one enrolment key.
//
//   sterna bench control sign --scenario devices --profile load --out /tmp/requests.json
//   k6 run --env REQUESTS=/tmp/requests.json bench/k6/devices.js

import { options as options_of, send, summary } from './requests.js';

export const options = options_of({ http_req_duration: ['p(99)<50'] });
export default send;
export const handleSummary = summary;
