/** Whether clients can be handed to the kernel (SPILLWAY_KERNEL_OFFLOAD): the table is put to the kernel, and not made. */
import type { PlainSettings } from '../../config/settings.ts'
import { messageOf } from '../../core/errors.ts'
import { checkNft } from '../../kernel/nft.ts'
import { creation } from '../../kernel/ruleset.ts'
import type { Findings } from './finding.ts'

const SUBJECT = 'kernel offload'
const CURES = [
  [/no program nft/, 'apt-get install nftables (dnf, apk and zypper call it so too), 1.0.6 or newer'],
  [
    /CAP_NET_ADMIN/,
    'systemd: AmbientCapabilities=CAP_NET_ADMIN, with the lines of spillway.service that begin with "# kernel offload"; containers: cap_add NET_ADMIN',
  ],
] as const
const OTHERS =
  'load the modules: modprobe -a nf_tables nft_fib_inet, and the same in /etc/modules-load.d, on the host of a container; Linux must be 5.4 or newer'

/** @param programs where nft may be; by default where a node looks for it */
export async function kernelOffload(
  { kernelOffload: mode }: Pick<PlainSettings, 'kernelOffload'>,
  found: Findings,
  programs?: readonly string[],
): Promise<void> {
  if (mode === 'off') return
  try {
    // That of every address: what is asked of the kernel is the same for any.
    await checkNft(creation('spillway_doctor', [{ host: '::', port: 25 }], [], 0), programs)
    found.ok(SUBJECT, 'the kernel takes the table of banned and denied clients')
  } catch (error) {
    const why = messageOf(error)
    const cure = CURES.find(([said]) => said.test(why))?.[1] ?? OTHERS
    found.warn(SUBJECT, `${why}; banned and denied clients are refused over SMTP meanwhile`, cure)
  }
}
