import { useState } from "react";

interface Props {
  start: number;
}

export const Counter = ({ start }: Props) => {
  const [count, setCount] = useState<number>(start);
  // Shown as it is.
  return <p title="count">{║count}</p>;
};
