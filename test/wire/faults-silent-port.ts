/**
 * A port where connecting is never answered: somebody listens and accepts nothing, and its queue is full, so that the
 * kernel drops every further SYN. An event loop always accepts, so it is that of a worker that is held up.
 */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { Worker } from 'node:worker_threads'

const LISTEN = `
  const { createServer } = require('node:net')
  const { parentPort, workerData } = require('node:worker_threads')
  createServer().listen({ port: workerData.port, host: workerData.host, backlog: 1 }, () => {
    parentPort.postMessage('listening')
    setImmediate(() => Atomics.wait(new Int32Array(workerData.held), 0, 0))
  })`
/** Linux takes one more than it is told. */
const QUEUE = 2

export async function startSilentPort(host: string, port: number): Promise<{ stop(): Promise<void> }> {
  const held = new SharedArrayBuffer(4)
  const worker = new Worker(LISTEN, { eval: true, workerData: { host, port, held } })
  await once(worker, 'message')
  const queue: Socket[] = []
  for (let i = 0; i < QUEUE; i++) {
    const socket = connect(port, host).on('error', () => undefined)
    await once(socket, 'connect')
    queue.push(socket)
  }
  return {
    async stop() {
      for (const socket of queue) socket.destroy()
      Atomics.notify(new Int32Array(held), 0)
      await worker.terminate()
    },
  }
}
