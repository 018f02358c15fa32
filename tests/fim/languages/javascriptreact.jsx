import { useState } from "react";

export function Counter({ start }) {
  const [count, setCount] = useState(start);
  // One more at each click.
  const add = () => {
    setCount(║count + 1);
  };
  return (
    <button className="counter" onClick={add}>
      {count}
    </button>
  );
}
