import type { Clock } from '../core/clock.ts';
import type { DiskEstimate } from '../core/disk-estimate.ts';
import type { Logger } from '../core/ports.ts';
import type { LedgerReading } from './ledger.ts';
import type { ForwarderOptions } from './messages.ts';
import type { ProbeAddress } from './probe-server.ts';
import type { SegmentSealer } from './seal-queue.ts';

/** What a recording is started with. */
export interface SupervisorDeps<Settings> {
  readonly forwarderEntry: string;
  readonly recorderEntry: string;
  readonly forwarder: ForwarderOptions;
  /** Processes that share the listen addresses. */
  readonly forwarders: number;
  /** What the recorder process is started with; opaque here. */
  readonly recorder: Settings;
  /** Where the capture was asked for, as it is shown until the capture is open. */
  readonly directory: string;
  readonly version: string;
  /** Null: no probes and no metrics. */
  readonly probeListen: ProbeAddress | null;
  /** Told of the capture's directory each time that a recorder has it open. */
  readonly captureReady: (directory: string) => void;
  /** Told how long the disk lasts, each time that this has become another story. */
  readonly estimated: (estimate: DiskEstimate) => void;
  readonly sealer: SegmentSealer;
  /** Ends what is done with sealed segments, within a limit of its own. The recording has not ended before. */
  readonly settleSealed: () => Promise<void>;
  readonly logger: Logger;
  readonly clock: Clock;
}

/** How a recording ended. */
export interface RecordingEnd {
  readonly ledger: LedgerReading;
  readonly cut: number;
  readonly turnedAway: number;
}
