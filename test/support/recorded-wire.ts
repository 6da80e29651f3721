import { systemClock } from '../../src/core/clock.ts';
import { PipeServer } from '../../src/proxy/recorder/pipe-server.ts';
import { makeContext } from '../proxy/recorder/harness.ts';
import { CountingSink } from './counting-sink.ts';
import { afterwards } from './leftovers.ts';
import { socketPair } from './socket-pair.ts';
import { type PlainWire, startWire, type WireStage } from './wire-stage.ts';

export interface RecordedWire extends WireStage {
  readonly sink: CountingSink;
  /** Waits until all connections are closed and settled. */
  settled(): Promise<void>;
}

/** A wire with a recorder at the other end of a real pipe, and a sink that keeps everything. */
export async function startRecordedWire(options: PlainWire): Promise<RecordedWire> {
  const [forwarderEnd, recorderEnd] = await socketPair();
  const sink = new CountingSink();
  const recorder = new PipeServer({ sink, context: makeContext(), clock: systemClock });
  const wire = await startWire(options);
  wire.link.attach(forwarderEnd);
  recorder.attach(recorderEnd);
  const tick = setInterval(() => recorder.commitIfDue(), 5);
  afterwards(() => {
    clearInterval(tick);
    forwarderEnd.destroy();
    recorderEnd.destroy();
  });
  const settled = async () => {
    for (;;) {
      const { pending, unsettledConnections, connections } = wire.ledger.read();
      const open = wire.forwarder.connections.open + unsettledConnections + pending.bytes + pending.turns;
      // The recorder gets the close of a connection last, and it settles nothing. So it is awaited separately.
      if (open === 0 && sink.protocolUses.length >= connections) return;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  return { ...wire, sink, settled };
}
