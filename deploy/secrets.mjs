/**
 * Makes the secrets of the compose stacks where they are missing, so that none is in the repository and none has to be
 * written by hand. Each folder is a volume that only the containers it is for can see, which is why the files in it may be
 * read by anybody: the programs run as different users. Run again, it keeps what is there.
 *
 *     node deploy/secrets.mjs [FOLDER]      FOLDER: /secrets
 */
import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

const root = process.argv[2] ?? '/secrets'

/** By renaming, so that a file is there whole or not at all, and one that nobody may write to can be replaced. */
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
