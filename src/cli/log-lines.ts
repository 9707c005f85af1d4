/**
 * The lines of a log, from a file or from stdin, compressed by gzip or not. Memory is bounded whatever the file holds: a line that is
 * longer than any of a log is passed over.
 */
import { createReadStream } from 'node:fs'
import { pipeline, Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'

/** Bytes. Those of mail servers and ours have a few thousand. */
export const LONGEST = 1 << 20
const NEWLINE = 0x0a

/** What a line that is too long is given as. */
export const TOO_LONG = '\0'

/** @param path `-`: standard input @throws what the file system or gunzip throws */
export async function* linesOf(path: string): AsyncGenerator<string> {
  const input: Readable = path === '-' ? process.stdin : createReadStream(path)
  try {
    yield* split(await opened(input))
  } finally {
    input.destroy()
  }
}

/** What gzip has compressed begins with these (RFC 1952); its name says nothing where it comes by a pipe. */
const GZIP = Buffer.from([0x1f, 0x8b])

async function opened(input: Readable): Promise<AsyncIterable<Buffer>> {
  const chunks = input[Symbol.asyncIterator]() as AsyncIterator<Buffer>
  let head = Buffer.alloc(0)
  let isOver = false
  while (head.length < GZIP.length && !isOver) {
    const { value, done } = await chunks.next()
    if (done) isOver = true
    else head = Buffer.concat([head, value])
  }
  async function* all(): AsyncGenerator<Buffer> {
    if (head.length > 0) yield head
    for (let next = isOver ? undefined : await chunks.next(); next && !next.done; next = await chunks.next())
      yield next.value
  }
  if (!head.subarray(0, GZIP.length).equals(GZIP)) return all()
  const gunzip = createGunzip()
  // Whoever reads it sees what went wrong with the file.
  pipeline(Readable.from(all()), gunzip, () => undefined)
  return gunzip
}

async function* split(chunks: AsyncIterable<Buffer>): AsyncGenerator<string> {
  let rest: Buffer[] = []
  let length = 0
  for await (const chunk of chunks) {
    let from = 0
    for (let to = chunk.indexOf(NEWLINE); to >= 0; to = chunk.indexOf(NEWLINE, from)) {
      const isWhole = length + to - from <= LONGEST
      rest.push(chunk.subarray(from, to))
      yield isWhole ? (rest.length === 1 ? (rest[0] as Buffer) : Buffer.concat(rest)).toString('utf8') : TOO_LONG
      rest = []
      length = 0
      from = to + 1
    }
    length += chunk.length - from
    if (length <= LONGEST) rest.push(chunk.subarray(from))
    else rest = []
  }
  if (length > 0) yield length <= LONGEST ? Buffer.concat(rest).toString('utf8') : TOO_LONG
}
