import { compat } from "./compat.js";

export = compat;
