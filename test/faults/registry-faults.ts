/** The registry, while nobody has the image and while another node has it. */
import type { Upstream } from '../lab/upstream.ts';
import type { Fault, Outcome } from './fault.ts';

const AT_ONCE = { boundMs: 1_500, why: 'at once' };
const HALF_BYTES = 3_000_000;
/** Less than any chunk that containerd asks for, and more than any layer that is to arrive. */
const SOME_BYTES = 500_000;

interface RegistryFault {
  readonly name: string;
  readonly title: string;
  readonly upstream: (upstream: Upstream) => Promise<void>;
  readonly without: Outcome;
}

const FAULTS: readonly RegistryFault[] = [
  { name: '503', title: 'answers 503', upstream: (upstream) => upstream.break(503), without: 'fails' },
  { name: '429', title: 'answers 429', upstream: (upstream) => upstream.break(429), without: 'fails' },
  { name: 'dead', title: 'refuses connections', upstream: (upstream) => upstream.stop(), without: 'fails' },
  {
    name: 'slow',
    title: 'takes half a second to answer, and sends 3 MB/s',
    upstream: async (upstream) => {
      await upstream.delay(500);
      await upstream.throttle({ perConnection: 3_000_000 });
    },
    without: 'pulled',
  },
  {
    name: 'cut',
    title: 'breaks off in the middle of a layer',
    upstream: (upstream) => upstream.break({ kind: 'cut', afterBytes: HALF_BYTES }),
    without: 'pulled',
  },
  {
    name: 'hangs',
    title: 'sends nothing more in the middle of a layer',
    upstream: (upstream) => upstream.break({ kind: 'hang', afterBytes: SOME_BYTES }),
    without: 'hangs',
  },
];

const repaired = (name: string): Pick<Fault, 'after'> =>
  name === 'dead' ? { after: ({ lab }) => lab.upstream.start() } : {};

export const REGISTRY_FAULTS: readonly Fault[] = FAULTS.map((fault) => ({
  ...fault,
  name: `registry-${fault.name}`,
  source: 'nobody',
  outcome: fault.without,
  ...repaired(fault.name),
  ...AT_ONCE,
}));

export const OUTAGE_FAULTS: readonly Fault[] = FAULTS.map((fault) => ({
  ...fault,
  name: `outage-${fault.name}`,
  source: 'node',
  outcome: 'pulled',
  ...repaired(fault.name),
  ...AT_ONCE,
}));
