/**
 * Creates the missing secrets of the compose stack, so that none is in the repository and none has to be written by hand.
 * Each folder is a volume that only the containers it is meant for can see. The programs in them run as different users, so
 * anybody may read the files. A second run keeps the secrets that exist.
 *
 *     node deploy/secrets.mjs [FOLDER]      FOLDER: /secrets
 */
import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

const root = process.argv[2] ?? '/secrets'

/** Renames a new file into place: so a file is complete or absent, and a read-only file can be replaced. */
function put(path, text) {
  const place = join(root, path)
  mkdirSync(dirname(place), { recursive: true })
  writeFileSync(`${place}.new`, text, { mode: 0o444 })
  renameSync(`${place}.new`, place)
}

function secret(path) {
  try {
    return readFileSync(join(root, path), 'utf8').trim()
  } catch (error) {
    if (error.code !== 'ENOENT') throw error
  }
  const made = randomBytes(24).toString('hex')
  put(path, `${made}\n`)
  return made
}

secret('spillway/admin-token')
secret('grafana/admin-password')
const password = secret('redis/password')
put('redis/redis.conf', `requirepass ${password}\n`)
put('spillway/redis-url', `redis://default:${password}@127.0.0.1:6379/0\n`)
console.log(`secrets are in ${root}`)
