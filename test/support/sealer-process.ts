/** A process that settles one segment, as the thread of a recorder does, so that a test may kill it. */
import { settleOne } from '../../src/app/recording/sealing.ts';

settleOne(process.argv[2] ?? '');
