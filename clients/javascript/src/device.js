// The device: its queue, its numbers, and what it does with answers.

import { envelope, jws, keyId, projectId } from './message.js'
import { hex } from './bytes.js'
import { QueueFull } from './store.js'

const FORMS = {
  envelope: { make: envelope, contentType: 'application/vnd.w3bstream.envelope' },
  jws: { make: jws, contentType: 'application/jose' },
}
// How far apart the numbers of messages under way may be. The node tells repeats from strangers within 4,096.
const MAX_SPREAD = 1024n
// How often one message is signed anew. Once is what a wiped device needs; more means that two devices share a key.
const MAX_RESIGNED = 4

/**
 * Sends messages so that each is executed once, whatever crashes, as long as its store is kept.
 *
 * `send` resolves when the message is kept. From then on it is sent until the node accepts it or refuses it for ever;
 * the callbacks say which:
 *
 * - `onAccepted(entry, { duplicate, mode, results })`; over MQTT only that it was accepted
 * - `onRefused(entry, { code, detail, nextEpoch })`: the message was taken out of the queue. The code is one of
 *   docs/devices.md, or `dropped` if the queue was full and `whenFull` is `drop-oldest`
 * - `onLater({ code, detail, wait })`: it is tried again in `wait` seconds
 *
 * A callback may come a second time for a message if the process dies between the callback and the removal.
 */
export class Device {
  #key
  #form
  #audience
  #store
  #transport
  #settings
  #clock
  #callbacks
  #underWay = new Set()
  #failures = 0
  #notBefore = 0
  #timer = null
  #running = false
  #closed = false
  #turn = Promise.resolve()
  #flushing = []

  constructor(key, {
    project, owner, audience, did = key.didKey(), form = 'envelope', store, transport, maxQueue = 10_000, whenFull = 'reject',
    firstWait = 0.5, longestWait = 60, clock = Date.now, onAccepted, onRefused, onLater,
  }) {
    if (!project || !owner === !audience) throw new Error('give `project`, and `owner` (a DID) or `audience` (32 bytes)')
    if (!FORMS[form]) throw new Error('`form` is envelope or jws')
    if (!['reject', 'drop-oldest'].includes(whenFull)) throw new Error('`whenFull` is reject or drop-oldest')
    this.project = project
    this.did = did
    this.#key = key
    this.#form = FORMS[form]
    this.#audience = audience ?? projectId(owner, project)
    this.#store = store
    this.#transport = transport
    this.#settings = { maxQueue, whenFull, firstWait, longestWait }
    this.#clock = clock
    this.#callbacks = { onAccepted, onRefused, onLater }
  }

  /** Opens the store and begins to send what is in it. */
  async start() {
    await this.#store.open(`${keyId(this.did)} ${hex(this.#audience)}`)
    await this.#transport.open(this)
    this.#running = true
    this.#pump()
  }

  /** Signs a message (bytes or text) and keeps it; resolves with its ticket. Rejects with `QueueFull` if the queue is
   * full and nothing may be dropped. */
  async send(payload, type = 'default') {
    if (!this.#running) throw new Error('the device is not started')
    const bytes = typeof payload === 'string' ? new TextEncoder().encode(payload) : Uint8Array.from(payload)
    const time = this.#clock ? this.#clock() : 0
    const { ticket, dropped } = await this.#alone(async () => {
      const dropped = this.#store.count >= this.#settings.maxQueue ? this.#droppable() : null
      const { ticket, sequence, state } = this.#store.place()
      const entry = await this.#sign({ ticket, sequence, type, time, payload: bytes, resigned: 0 })
      await this.#store.put(entry, state, dropped ? [dropped.ticket] : [])
      return { ticket, dropped }
    })
    if (dropped) await this.#tell('onRefused', dropped, { kind: 'refused', code: 'dropped', detail: 'the queue was full' })
    this.#pump()
    return ticket
  }

  /** How many messages are in the queue. */
  get waiting() {
    return this.#store.count
  }

  /** Resolves with true when the queue is empty, or with false after so many seconds. */
  flush(timeout = Infinity) {
    if (this.#store.count === 0) return Promise.resolve(true)
    return new Promise((resolve) => {
      const clock = timeout === Infinity ? null : setTimeout(() => resolve(false), timeout * 1000)
      this.#flushing.push(() => {
        clearTimeout(clock)
        resolve(true)
      })
    })
  }

  /** Stops sending. What is in the queue stays there for the next start. */
  async close() {
    this.#running = false
    clearTimeout(this.#timer)
    await this.#transport.close()
    await this.#alone(async () => {
      this.#closed = true
      await this.#store.release()
    })
  }

  /** One change of the store at a time. */
  #alone(work) {
    const done = this.#turn.then(work)
    this.#turn = done.catch(() => {})
    return done
  }

  #droppable() {
    const free = (e) => !this.#underWay.has(e.ticket)
    const found = this.#settings.whenFull === 'drop-oldest' && this.#store.first(this.#transport.window + 1).find(free)
    if (found) return found
    throw new QueueFull(`${this.#settings.maxQueue} messages wait; the node has not acknowledged them`)
  }

  /** With a new salt. */
  async #sign(entry) {
    const message = {
      audience: this.#audience, key: keyId(this.did), type: entry.type, sequence: entry.sequence, time: BigInt(entry.time),
      salt: crypto.getRandomValues(new Uint8Array(16)), payload: entry.payload,
    }
    return { ...entry, ...(await this.#form.make(this.#key, message)) }
  }

  #pump() {
    if (!this.#running) return
    const wait = this.#notBefore - performance.now()
    clearTimeout(this.#timer)
    if (wait > 0) {
      this.#timer = setTimeout(() => this.#pump(), wait)
      return
    }
    for (let entry = this.#next(); entry; entry = this.#next()) {
      this.#underWay.add(entry.ticket)
      const sent = entry
      this.#transport.send(sent, this.#form.contentType)
        .then((outcome) => this.#answered(sent, outcome))
        // The store could not be written: the message stays, and is sent again after a while.
        .catch((error) => this.#wait({ code: 'store', detail: String(error), wait: 0 }))
        .finally(() => {
          this.#underWay.delete(sent.ticket)
          this.#pump()
        })
    }
  }

  /** The next message to send. Those under way are the lowest, of one boot epoch, and near each other: a node that has
   * ordered a message of a newer epoch, or one far above, says `too-old` to a repeat of an older message, even if it has
   * that message. Signing it anew would then make it two. */
  #next() {
    const first = this.#store.first(this.#transport.window)
    for (const entry of first) {
      const [low, here] = [first[0].sequence, entry.sequence]
      if (here >> 32n !== low >> 32n || here - low >= MAX_SPREAD) return null
      if (!this.#underWay.has(entry.ticket)) return entry
    }
    return null
  }

  async #answered(entry, outcome) {
    if (this.#closed) return
    if (outcome.kind === 'later') {
      this.#wait(outcome)
      return
    }
    // An answer of any kind says that the node is there.
    this.#failures = 0
    if (outcome.kind === 'refused' && (await this.#anew(entry, outcome))) return
    await this.#tell(outcome.kind === 'accepted' ? 'onAccepted' : 'onRefused', entry, outcome)
    await this.#alone(async () => {
      if (!this.#closed) await this.#store.remove(entry.ticket)
    })
    if (this.#store.count === 0) this.#flushing.splice(0).forEach((resolve) => resolve())
  }

  #wait(outcome) {
    // Several messages that fail together count once.
    if (!this.#running || performance.now() < this.#notBefore) return
    const { firstWait, longestWait } = this.#settings
    const most = Math.min(firstWait * 2 ** Math.min(this.#failures++, 20), longestWait)
    // Between half and the whole of it, so that many devices do not come back at once.
    const wait = Math.max(most * (0.5 + Math.random() / 2), outcome.wait)
    this.#notBefore = performance.now() + wait * 1000
    this.#callbacks.onLater?.({ code: outcome.code, detail: outcome.detail, wait })
  }

  /** Signs a message anew whose number is of no use, because the device had lost its counter. */
  async #anew(entry, refused) {
    if (!['too-old', 'conflict'].includes(refused.code) || entry.resigned >= MAX_RESIGNED) return false
    try {
      await this.#alone(async () => {
        if (this.#closed) return
        // If the epoch has risen since the message was signed, its present numbers are good.
        const { sequence, state } = this.#store.place(refused.nextEpoch ?? Number(entry.sequence >> 32n) + 1)
        await this.#store.put(await this.#sign({ ...entry, sequence, resigned: entry.resigned + 1 }), state)
      })
      return true
    } catch (error) {
      // No epoch is left: the refusal stands.
      if (error instanceof RangeError) return false
      throw error
    }
  }

  async #tell(name, entry, outcome) {
    try {
      await this.#callbacks[name]?.(entry, outcome)
    } catch (error) {
      console.error('a callback failed:', error)
    }
  }
}
