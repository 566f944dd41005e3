import type { IngestSighting } from './ingest-files.ts';

/** What is believed of an ingest. */
export interface IngestState {
  readonly sighting: IngestSighting;
  /** Whether somebody is writing it: what a crash or a cancelled pull left is there too, and never grows. */
  readonly isLive: boolean;
}

export interface IngestCircumstances {
  /** Whether the ingest was there when following began: before that, it may have been left behind. */
  readonly wasThere: boolean;
  /** When this machine started. */
  readonly bootedAtMs: number;
}

/**
 * What to believe after the next look at the same file. Live is what was made while we watched, and what has grown since the last
 * look; until containerd puts it down. What the machine's last start found on its disk is never shared: after a power cut
 * the file may be longer than what was written to it.
 */
export function nextIngestState(
  before: IngestState | undefined,
  sighting: IngestSighting,
  { wasThere, bootedAtMs }: IngestCircumstances,
): IngestState {
  if (sighting.bornAtMs !== undefined && sighting.bornAtMs < bootedAtMs) return { sighting, isLive: false };
  if (before === undefined) return { sighting, isLive: !wasThere };
  if (sighting.closing !== before.sighting.closing) return { sighting, isLive: false };
  return { sighting, isLive: before.isLive || sighting.bytes > before.sighting.bytes };
}
