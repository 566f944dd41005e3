/** A member in a process of its own, so that it can be stopped in its tracks: `router-member.ts ROUTER MEMBERS`. */
import type { HostPort } from '../../common/host-port.ts';
import { createTestMembers, createTestRouter, type RouterName } from './libp2p-fixture.ts';

const [name, members] = process.argv.slice(2) as [RouterName, string];
const router = createTestRouter(name, {
  members: createTestMembers(JSON.parse(members) as HostPort[]),
  peerPort: 29_999,
});
await router.start(AbortSignal.timeout(10_000));
process.send?.(router.swarmPort);
process.on('disconnect', () => process.exit());
