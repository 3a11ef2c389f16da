// What the server is asked for.

/** The answer's content; null where there is none. */
export async function fetchJson(path, names = {}) {
  const query = new URLSearchParams(names).toString();
  try {
    const answer = await fetch(query ? `${path}?${query}` : path);
    return answer.ok ? await answer.json() : null;
  } catch {
    return null;  // The server is gone; the next round tells.
  }
}
