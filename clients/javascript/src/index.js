// A device of W3bstream, for Node.js and browsers: signs messages, keeps them until they are acknowledged, and sends them.

export { Device } from './device.js'
export { HttpTransport, readAnswer } from './http.js'
export { Key, WebCryptoKey } from './keys.js'
export { envelope, jws, keyId, projectId, signingInput } from './message.js'
export { MemoryStore, QueueFull, Store } from './store.js'
