import type { Fault } from './fault.ts';
import { MIRROR_FAULTS } from './mirror-faults.ts';
import { HOLDER_FAULTS, LEADER_FAULTS } from './node-faults.ts';
import { PEER_FAULTS } from './peer-faults.ts';
import { OUTAGE_FAULTS, REGISTRY_FAULTS } from './registry-faults.ts';

export interface FaultGroup {
  readonly title: string;
  /** What the rows' titles are said of. */
  readonly text: string;
  readonly faults: readonly Fault[];
}

/** All rows of the matrix, in its order. */
export const CATALOGUE: readonly FaultGroup[] = [
  { title: 'A peer', text: 'It alone has the image; behind it there is only the registry. It', faults: PEER_FAULTS },
  { title: "The node's own mirror", text: 'While a peer serves the image, it', faults: MIRROR_FAULTS },
  { title: 'Another node', text: 'It alone has the image. It', faults: HOLDER_FAULTS },
  {
    title: 'The leader',
    text: 'It pulls the image from the registry, and the others follow it. It',
    faults: LEADER_FAULTS,
  },
  { title: 'The registry', text: 'Nobody else has the image. It', faults: REGISTRY_FAULTS },
  { title: 'The registry, and another node has the image', text: 'It', faults: OUTAGE_FAULTS },
];
