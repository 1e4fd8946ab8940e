/**
 * typia at run time. Its functions are made by a compiler plugin, which teal does not run; without
 * it they throw when they are called, also where typia is installed.
 */
import { standIn } from "./stand-in.js";

export = standIn;
