// Requests, and what went wrong in words.

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function answered(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "The server does not answer. Is cwcf serve still running?");
  }
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(response.status, body.detail ?? `The server answered ${response.status}.`);
  return body;
}

export const about = () => answered("api/index");

export const upload = (file) => answered("api/uploads", { method: "POST", body: file });

export const post = (what, body, signal) =>
  answered(`api/${what}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });

export function pictureAddress(path, content, side) {
  return `api/pictures?${new URLSearchParams({ path, side, of: content.slice(0, 12) })}`;
}
