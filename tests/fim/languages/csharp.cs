using System;
using System.Collections.Generic;

namespace Shop
{
    public interface IScarce
    {
        IEnumerable<string> Scarce();
    }

    public class Stock : IScarce
    {
        public int Limit { get; set; } = 3;

        public IEnumerable<string> Scarce()
        {
            // One at a time.
            yield return ║$"scarce: {Limit} of " + "all";
        }
    }

    enum Size { Small, Large }
}
