import java.nio.file.*;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;
import java.util.stream.*;

/** Threads, pools, locks, garbage, files and processes. */
public class Threads {
    public static void main(String[] args) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(8);
        AtomicLong total = new AtomicLong();
        List<Future<?>> futures = new ArrayList<>();
        for (int i = 0; i < 200; i++) {
            final int n = i;
            futures.add(pool.submit(() -> {
                byte[][] garbage = new byte[100][];
                for (int k = 0; k < 100; k++) garbage[k] = new byte[10000];
                total.addAndGet(n + garbage.length - 100);
            }));
        }
        for (Future<?> f : futures) f.get(60, TimeUnit.SECONDS);
        pool.shutdown();
        check(total.get() == 19900);
        check(IntStream.range(0, 1_000_000).parallel().filter(x -> x % 7 == 0).count() == 142858);
        CountDownLatch latch = new CountDownLatch(100);
        for (int i = 0; i < 100; i++) new Thread(latch::countDown).start();
        check(latch.await(30, TimeUnit.SECONDS));
        Path p = Paths.get("/tmp/java.txt");
        Files.write(p, Collections.nCopies(1000, "line"));
        check(Files.lines(p).count() == 1000);
        Process proc = new ProcessBuilder("echo", "hi").start();
        check(new String(proc.getInputStream().readAllBytes()).equals("hi\n") && proc.waitFor() == 0);
        System.out.println("ok");
    }

    static void check(boolean ok) {
        if (!ok) throw new AssertionError();
    }
}
