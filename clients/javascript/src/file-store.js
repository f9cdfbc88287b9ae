// A store in a file, for Node.js: a journal of changes, one JSON value a line, each on disk before it counts.

import { open, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { b64url, unb64url } from './bytes.js'
import { Store } from './store.js'

const frozen = (e) => ({ ...e, sequence: String(e.sequence), payload: b64url(e.payload), body: b64url(e.body) })
const thawed = (e) => ({ ...e, sequence: BigInt(e.sequence), payload: unb64url(e.payload), body: unb64url(e.body) })

/** `path` is the journal; `path`.lock says which process has it. */
export class FileStore extends Store {
  #path
  #file = null
  #lines = 0
  #live = { state: null, entries: new Map(), ticket: 0 }

  constructor(path, options) {
    super(options)
    this.#path = path
  }

  async load() {
    await this.#lock()
    let text = ''
    try {
      text = await readFile(this.#path, 'utf8')
    } catch (error) {
      if (error.code !== 'ENOENT') throw error
    }
    const lines = text.split('\n')
    // What stands behind the last newline was being written when the process ended; nobody was told that it is kept.
    lines.pop()
    lines.forEach((line, place) => {
      try {
        this.#apply(JSON.parse(line))
      } catch (error) {
        throw new Error(`${this.#path}, line ${place + 1}, is damaged: ${error.message}; restore the file, or remove it and ` +
          'let the device go on in a new boot epoch')
      }
    })
    await this.#compact()
    const { state, entries, ticket } = this.#live
    return { state, entries: [...entries.values()].map(thawed), ticket }
  }

  async write(change) {
    const put = change.put && frozen(change.put)
    const line = { ...change, ...(put && { put }), ticket: Math.max(this.#live.ticket, put?.ticket ?? 0) }
    const before = (await this.#file.stat()).size
    try {
      await this.#file.appendFile(JSON.stringify(line) + '\n')
      await this.#file.datasync()
    } catch (error) {
      // Half a line must not stand before the next one.
      await this.#file.truncate(before)
      throw error
    }
    this.#apply(line)
    if (++this.#lines > 1000 + 4 * this.#live.entries.size) await this.#compact()
  }

  async release() {
    await this.#file?.close()
    this.#file = null
    await rm(this.#path + '.lock', { force: true })
  }

  #apply({ state, put, remove, ticket }) {
    if (state) this.#live.state = state
    for (const gone of remove ?? []) this.#live.entries.delete(gone)
    if (put) this.#live.entries.set(put.ticket, put)
    this.#live.ticket = ticket
  }

  /** Writes what counts into a new file and puts it in place of the old one. */
  async #compact() {
    const { state, entries, ticket } = this.#live
    const lines = [{ state, ticket }, ...[...entries.values()].map((put) => ({ put, ticket }))]
    const file = await open(this.#path + '.new', 'w', 0o600)
    try {
      await file.writeFile(lines.map((line) => JSON.stringify(line) + '\n').join(''))
      await file.sync()
    } finally {
      await file.close()
    }
    await this.#file?.close()
    await rename(this.#path + '.new', this.#path)
    const folder = await open(dirname(this.#path), 'r')
    await folder.sync()
    await folder.close()
    this.#file = await open(this.#path, 'a')
    this.#lines = lines.length
  }

  async #lock() {
    const lock = this.#path + '.lock'
    for (let attempt = 0; ; attempt++) {
      try {
        return await writeFile(lock, String(process.pid), { flag: 'wx' })
      } catch (error) {
        if (error.code !== 'EEXIST' || attempt > 2) throw error
        const pid = Number(await readFile(lock, 'utf8').catch(() => '0'))
        if (pid !== process.pid && alive(pid)) {
          throw new Error(`process ${pid} has ${this.#path} open; if that is another program, remove ${lock}`)
        }
        await rm(lock, { force: true })
      }
    }
  }
}

function alive(pid) {
  if (!pid) return false
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error.code === 'EPERM'
  }
}
