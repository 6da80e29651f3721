/** A process that seals one segment like the recorder's sealing thread, so that a test can kill it. */
import { settleOne } from '../../src/app/recording/sealing.ts';

settleOne(process.argv[2] ?? '');
