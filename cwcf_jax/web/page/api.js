// Requests to the HTTP API, and errors with messages for the user.

export class RequestError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function request(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new RequestError(0, "The server does not answer. Is cwcf serve still running?");
  }
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new RequestError(response.status, body.detail ?? `The server answered ${response.status}.`);
  return body;
}

export const fetchIndexInfo = () => request("api/index");

export const upload = (file) => request("api/uploads", { method: "POST", body: file });

export const post = (route, body, signal) =>
  request(`api/${route}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });

export function pictureAddress(path, content, side) {
  return `api/pictures?${new URLSearchParams({ path, side, of: content.slice(0, 12) })}`;
}
