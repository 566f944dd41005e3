import type { BypassReason, GateMode } from '../decision.ts';

const WHY: Readonly<Record<BypassReason, string>> = {
  'no-compatible-node': 'no node is known to be compatible',
  'nodes-unknown': 'the nodes are not known yet',
  'nobody-lifts': 'nobody could end the wait',
  'too-many-incompatible': 'too many nodes are incompatible',
};

/** What the user is told when a mode is bypassed. */
export function bypassWarning(mode: GateMode, reason: BypassReason | undefined): string | undefined {
  if (reason === undefined) return undefined;
  return `miroir: gate mode ${mode} is bypassed, since ${WHY[reason]}: the pod only prefers compatible nodes`;
}
