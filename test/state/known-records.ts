/** What nodes share of recipients, counted in Redis itself. */
import type { RedisServer } from '../services/redis.ts'

const COUNT = `
local sum = 0
for _, key in ipairs(redis.call('KEYS', ARGV[1] .. 'known:*')) do
  if redis.call('TYPE', key).ok == 'hash' then
    for _, set in ipairs(redis.call('HVALS', key)) do sum = sum + #set end
  end
end
return sum
`

/** How many records there are, whoever wrote them. @param prefix of all keys */
export const recordsIn = async (redis: RedisServer, prefix: string): Promise<number> =>
  Number(await redis.call('eval', COUNT, '0', prefix)) / 10
