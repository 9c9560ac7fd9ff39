// The engine's HTTP side (docs/protocol.md §6): JSON in, JSON out, problem+json when it fails.

/** A refused request. `code` is the engine's error number, or the HTTP status where there is none. */
export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `The engine answered ${status}.`);
    this.status = status;
    this.code = problem.code ?? status;
  }
}

/** Sends one request; `token` is an access token or nothing. Throws Refused, or TypeError when unreachable. */
export async function send(method, path, { body, token, headers } = {}) {
  const response = await fetch(path, {
    method,
    headers: {
      ...(body === undefined ? {} : { "Content-Type": "application/json" }),
      ...(token ? { Authorization: `Bearer ${token}` } : {}),
      ...headers,
    },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await response.text();
  const answer = parse(text);
  if (!response.ok) throw new Refused(response.status, answer ?? {});
  return answer;
}

function parse(text) {
  try {
    return text ? JSON.parse(text) : null;
  } catch {
    return null;
  }
}
