// The end of a run: a line for people, and the figures as JSON where SUMMARY names a file.

export function textSummary(plan) {
  return (data) => {
    const values = (name) => (data.metrics[name] ? data.metrics[name].values : {});
    const figures = {
      scenario: plan.scenario,
      profile: plan.profile,
      requests: values('http_reqs').count || 0,
      per_s: values('http_reqs').rate || 0,
      failed: values('checks').fails || 0,
      dropped: values('dropped_iterations').count || 0,
      p50_ms: values('http_req_duration')['p(50)'] || 0,
      p95_ms: values('http_req_duration')['p(95)'] || 0,
      p99_ms: values('http_req_duration')['p(99)'] || 0,
      sockets: values('ws_sessions').count || 0,
      signals: values('signals').count || 0,
      signal_p50_ms: values('signal_ms')['p(50)'] || 0,
      signal_p99_ms: values('signal_ms')['p(99)'] || 0,
      missed: missed(data),
    };
    const line = Object.entries(figures).map(([name, value]) => {
      const shown = typeof value === 'number' ? Math.round(value * 100) / 100 : value;
      return `${name}=${Array.isArray(value) ? value.join(',') || 'none' : shown}`;
    });
    const outputs = { stdout: `${line.join(' ')}\n` };
    if (__ENV.SUMMARY) {
      outputs[__ENV.SUMMARY] = JSON.stringify(figures);
    }
    return outputs;
  };
}

// The thresholds that did not hold.
function missed(data) {
  return Object.entries(data.metrics).flatMap(([metric, { thresholds }]) =>
    Object.entries(thresholds || {})
      .filter(([, { ok }]) => !ok)
      .map(([threshold]) => `${metric} ${threshold}`),
  );
}
