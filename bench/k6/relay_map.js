// Devices that fetch the signed relay map.
//
//   sterna bench control sign --scenario relay-map --profile load --out /tmp/requests.json
//   k6 run --env REQUESTS=/tmp/requests.json bench/k6/relay_map.js

import { options as options_of, send, summary } from './requests.js';

export const options = options_of({ http_req_duration: ['p(99)<50'] });
export default send;
export const handleSummary = summary;
