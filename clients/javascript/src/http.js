// Sends over HTTP with fetch.

const TRANSIENT = new Set(['overloaded', 'shutting-down', 'storage-failing', 'not-ready'])

/** What an answer of `POST …/events` means. What is not the node's own refusal (a proxy's, a 500) is tried again, since
 * nothing that could still be delivered is given up. */
export function readAnswer(status, retryAfter, text) {
  let answer = null
  try {
    answer = JSON.parse(text)
  } catch {
    // It is no JSON, so not the node's.
  }
  if (typeof answer !== 'object' || answer === null) answer = {}
  if (status === 200 || status === 201) {
    return { kind: 'accepted', duplicate: answer.duplicate === true, mode: answer.mode ?? '', results: answer.results ?? [] }
  }
  const code = String(answer.code ?? `http-${status}`)
  const detail = String(answer.detail ?? '')
  if (status >= 400 && status < 500 && status !== 408 && status !== 429 && answer.code && !TRANSIENT.has(code)) {
    return { kind: 'refused', code, detail, nextEpoch: Number.isInteger(answer.next_epoch) ? answer.next_epoch : undefined }
  }
  return { kind: 'later', code, detail, wait: Number(retryAfter) || 0 }
}

/** `url` is that of the node. `connections` is how many messages are under way at a time, `timeout` is in seconds. In a
 * browser the page must come from the same origin, or the node must allow the page's (its setting `http.cors`). */
export class HttpTransport {
  #url
  #timeout
  #fetch
  #path = ''
  #closed = new AbortController()

  constructor(url, { connections = 4, timeout = 30, fetch = globalThis.fetch.bind(globalThis) } = {}) {
    this.#url = url.replace(/\/+$/, '')
    this.window = connections
    this.#timeout = timeout * 1000
    this.#fetch = fetch
  }

  async open(device) {
    this.#path = `${this.#url}/v1/projects/${encodeURIComponent(device.project)}/events`
  }

  /** Resolves with what became of the message; never rejects. */
  async send(entry, contentType) {
    const timer = new AbortController()
    const stop = () => timer.abort()
    const clock = setTimeout(stop, this.#timeout)
    this.#closed.signal.addEventListener('abort', stop)
    try {
      const answer = await this.#fetch(this.#path, {
        method: 'POST', headers: { 'Content-Type': contentType }, body: entry.body, signal: timer.signal, redirect: 'error',
      })
      return readAnswer(answer.status, answer.headers.get('Retry-After'), await answer.text())
    } catch (error) {
      return { kind: 'later', code: 'unreachable', detail: String(error.cause ?? error), wait: 0 }
    } finally {
      clearTimeout(clock)
      this.#closed.signal.removeEventListener('abort', stop)
    }
  }

  async close() {
    this.#closed.abort()
  }
}
