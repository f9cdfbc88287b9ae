// Sends over MQTT 5 with QoS 1, by mqtt.js. Its PUBACKs carry the reason of a refusal, which 3.1.1's do not.

const SCHEMES = ['mqtt:', 'mqtts:', 'ws:', 'wss:']

/** What a PUBACK means: below 0x80 it is accepted, else the reason is `<code>: <detail>[; next-epoch=N]`. */
export function readReason(reasonCode, reason = '') {
  if (reasonCode < 0x80) return { kind: 'accepted', duplicate: false, mode: '', results: [] }
  const colon = reason.indexOf(': ')
  const [code, detail] = colon < 0 ? [reason, ''] : [reason.slice(0, colon), reason.slice(colon + 2)]
  const found = /; next-epoch=(\d{1,10})$/.exec(reason)
  return {
    kind: 'refused', code: code || `mqtt-0x${reasonCode.toString(16)}`, detail, nextEpoch: found ? Number(found[1]) : undefined,
  }
}

/** `url` is `mqtt://host:port` or `mqtts://…` (Node.js), or `ws://host:port/mqtt` or `wss://…` (both). A message without
 * a PUBACK for `ackTimeout` seconds ends the connection; it is sent again on the next. `onCommand(bytes)` gets what
 * applets send to the device while it is connected. `options` go to mqtt.js: username, password, ca, cert, key. */
export class MqttTransport {
  #url
  #options
  #ackTimeout
  #onCommand
  #client = null
  #connecting = null
  #pending = new Set()
  #device = null
  #closed = false

  constructor(url, { window = 16, ackTimeout = 30, onCommand = null, options = {} } = {}) {
    if (!SCHEMES.includes(new URL(url).protocol)) throw new Error(`${url} is none of ${SCHEMES.join(', ')}`)
    this.#url = url
    this.window = window
    this.#options = options
    this.#ackTimeout = ackTimeout * 1000
    this.#onCommand = onCommand
  }

  async open(device) {
    this.#device = device
  }

  /** Resolves with what became of the message; never rejects. The form is known by its first bytes. */
  async send(entry) {
    let client
    try {
      this.#connecting ??= this.#connect()
      client = await this.#connecting
    } catch (error) {
      this.#connecting = null
      return later(error.message ?? String(error))
    }
    return new Promise((resolve) => {
      const answer = (outcome) => {
        clearTimeout(clock)
        this.#pending.delete(answer)
        resolve(outcome)
      }
      const clock = setTimeout(() => this.#lose(client, 'no PUBACK came in time'), this.#ackTimeout)
      this.#pending.add(answer)
      if (client !== this.#client) return answer(later('the connection was lost'))
      client.publish(`w3b/${this.#device.project}/${entry.type}`, entry.body, { qos: 1 }, (error, packet) => {
        if (!error) answer(readReason(0))
        else if (packet?.cmd === 'puback') answer(readReason(packet.reasonCode, packet.properties?.reasonString))
        else answer(later(error.message))
      })
    })
  }

  async close() {
    this.#closed = true
    if (this.#client) this.#lose(this.#client, 'closed')
  }

  async #connect() {
    const { connect } = (await import('mqtt')).default
    const client = connect(this.#url, {
      clientId: this.#device.did, ...this.#options, protocolVersion: 5, clean: true,
      // A new client for each connection: mqtt.js would else send again by itself what it has kept.
      reconnectPeriod: 0, connectTimeout: 15_000,
    })
    await new Promise((resolve, reject) => {
      client.once('connect', resolve)
      client.once('error', reject)
      client.once('close', () => reject(new Error('the broker closed the connection')))
    }).catch((error) => {
      // What it still has to say is of no use, but an error without a listener would end the program.
      client.on('error', () => {})
      client.end(true)
      throw error
    })
    if (this.#closed) {
      client.end(true)
      throw new Error('closed')
    }
    this.#client = client
    client.on('error', (error) => this.#lose(client, error.message))
    client.on('close', () => this.#lose(client, 'the connection was lost'))
    if (this.#onCommand) {
      client.on('message', (_topic, payload) => this.#onCommand(payload))
      client.subscribe(`w3b/${this.#device.project}/cmd/${this.#device.did}`, { qos: 1 })
    }
    return client
  }

  #lose(client, why) {
    if (client !== this.#client) return
    this.#client = this.#connecting = null
    // All of it is in the queue, and none is answered any more: mqtt.js is not to send it again.
    for (const answer of [...this.#pending]) answer(later(why))
    client.end(true)
  }
}

const later = (detail) => ({ kind: 'later', code: 'unreachable', detail, wait: 0 })
