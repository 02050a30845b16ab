// Devices that want TURN credentials.
//
//   sterna bench control sign --scenario credentials --profile load --out /tmp/requests.json
//   k6 run --env REQUESTS=/tmp/requests.json bench/k6/credentials.js

import { options as options_of, send, summary } from './requests.js';

export const options = options_of({ http_req_duration: ['p(99)<50'] });
export default send;
export const handleSummary = summary;
