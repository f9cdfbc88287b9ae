// What must survive a crash: the numbers that are used up, and the messages that are not acknowledged.
//
// All of it is in memory too; a subclass writes each change down before it counts.

const COUNTERS = 2 ** 32

/** The queue has its largest number of messages and its policy is to take no more. */
export class QueueFull extends Error {}

/** A store, to be given `load` and `write` by its subclass. Only one device at a time may have it open.
 *
 * An entry is { ticket, sequence, type, time, payload, id, body, resigned }. */
export class Store {
  #entries = []
  #ticket = 0
  #state = { owner: null, epoch: 0, reserved: 0 }
  #next = 0
  #block

  constructor({ block = 64 } = {}) {
    this.#block = block
  }

  /** Gives { state: { owner, epoch, reserved } or null, entries, ticket: the highest ever given }. */
  async load() {
    throw new Error('a store has `load`')
  }

  /** Writes { state?, put?: entry, remove?: [tickets] } down, all of it or nothing, and resolves when it is durable. */
  async write(_change) {
    throw new Error('a store has `write`')
  }

  /** Lets go of the file or database. */
  async release() {}

  /** Ties a new store to `owner` (key and audience), or checks that it is tied to it. */
  async open(owner) {
    const { state, entries, ticket } = await this.load()
    if (state && state.owner !== owner) {
      await this.release()
      throw new Error(`the store belongs to ${state.owner}, not to ${owner}; give each device and project its own`)
    }
    this.#entries = entries.sort((a, b) => (a.sequence < b.sequence ? -1 : 1))
    this.#ticket = ticket
    // What was reserved and not used before the stop is left as a gap: a crash never uses a number twice.
    if (state) this.#state = { ...state }
    this.#next = this.#state.reserved
    this.#state.owner = owner
    if (!state) await this.write({ state: { ...this.#state } })
  }

  get epoch() {
    return this.#state.epoch
  }

  get count() {
    return this.#entries.length
  }

  /** The messages with the lowest sequence numbers, in their order. */
  first(limit) {
    return this.#entries.slice(0, limit)
  }

  /** A place for a new message behind all others: { ticket, sequence, state }. `state` must be written with the message;
   * `epoch`, if given, is the first that may be used. One at a time: a second call before the first is written would
   * give numbers whose reservation is not yet durable. */
  place(epoch = 0) {
    let { owner, epoch: now, reserved } = this.#state
    let next = this.#next
    if (epoch > now || next >= COUNTERS) {
      ;[now, next, reserved] = [Math.max(epoch, now + 1), 0, 0]
      if (now >= COUNTERS) throw new RangeError('all boot epochs are used up; the device needs a new key')
    }
    if (next >= reserved) reserved = Math.min(next + this.#block, COUNTERS)
    return { ticket: this.#ticket + 1, sequence: (BigInt(now) << 32n) | BigInt(next), state: { owner, epoch: now, reserved } }
  }

  /** Keeps an entry with the sequence number and state that `place` gave, instead of those in `remove`. */
  async put(entry, state, remove = []) {
    const changed = state.epoch !== this.#state.epoch || state.reserved !== this.#state.reserved
    await this.write({ ...(changed && { state }), put: entry, remove })
    this.#state = state
    this.#next = Number(entry.sequence & 0xffffffffn) + 1
    this.#ticket = Math.max(this.#ticket, entry.ticket)
    this.#entries = this.#entries.filter((e) => e.ticket !== entry.ticket && !remove.includes(e.ticket))
    // The highest number there is: the order stays.
    this.#entries.push(entry)
  }

  /** Forgets a message. */
  async remove(ticket) {
    await this.write({ remove: [ticket] })
    this.#entries = this.#entries.filter((e) => e.ticket !== ticket)
  }
}

/** Forgets everything when the program ends. The device then loses what waits, and starts a new boot epoch. */
export class MemoryStore extends Store {
  async load() {
    return { state: null, entries: [], ticket: 0 }
  }

  async write() {}
}
