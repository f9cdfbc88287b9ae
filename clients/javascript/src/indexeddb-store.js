// A store in IndexedDB, for browsers. One tab at a time has it (Web Locks); another one is told so.

import { Store } from './store.js'

const asked = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result)
    request.onerror = () => reject(request.error)
  })

/** `name` is the database's. A browser may clear it when storage is short, unless `navigator.storage.persist()` was
 * granted: the device then loses what waits and goes on in a new boot epoch. */
export class IndexedDbStore extends Store {
  #name
  #db = null
  #unlock = null

  constructor(name, options) {
    super(options)
    this.#name = name
  }

  async load() {
    await this.#lock()
    const opening = indexedDB.open(this.#name, 1)
    opening.onupgradeneeded = () => {
      opening.result.createObjectStore('device')
      opening.result.createObjectStore('queue', { keyPath: 'ticket' })
    }
    this.#db = await asked(opening)
    const tx = this.#db.transaction(['device', 'queue'])
    const [state, ticket, entries] = await Promise.all([
      asked(tx.objectStore('device').get('state')),
      asked(tx.objectStore('device').get('ticket')),
      asked(tx.objectStore('queue').getAll()),
    ])
    return { state: state ?? null, entries, ticket: ticket ?? 0 }
  }

  async write({ state, put, remove = [] }) {
    // Strict: the browser reports it done when the system has flushed it.
    const tx = this.#db.transaction(['device', 'queue'], 'readwrite', { durability: 'strict' })
    const done = new Promise((resolve, reject) => {
      tx.oncomplete = resolve
      tx.onabort = () => reject(tx.error)
    })
    if (state) tx.objectStore('device').put(state, 'state')
    for (const ticket of remove) tx.objectStore('queue').delete(ticket)
    if (put) {
      tx.objectStore('queue').put(put)
      const device = tx.objectStore('device')
      const known = device.get('ticket')
      known.onsuccess = () => device.put(Math.max(known.result ?? 0, put.ticket), 'ticket')
    }
    await done
  }

  async release() {
    this.#db?.close()
    this.#unlock?.()
  }

  #lock() {
    return new Promise((resolve, reject) => {
      navigator.locks.request(`w3b ${this.#name}`, { ifAvailable: true }, (lock) => {
        if (!lock) {
          reject(new Error(`another tab has the store ${this.#name} open`))
          return undefined
        }
        resolve()
        return new Promise((unlock) => { this.#unlock = unlock })
      }).catch(reject)
    })
  }
}
